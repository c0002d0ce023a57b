//! The allow-list of browser origins.

use std::str::FromStr;

/// The allow-list of `ALLOWED_ORIGINS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// Every page. Safe, because nothing that a browser adds by itself (such as a cookie) ever
    /// authenticates here.
    #[default]
    Any,
    /// Only these origins, in the form browsers send: lower case, no path, no default port.
    Listed(Vec<String>),
}

/// The error for a list entry that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; expected a comma-separated list such as https://panel.example.com,http://localhost:4200, or *"
)]
pub struct InvalidOrigin(pub String);

impl Origins {
    /// Returns whether a page of that origin may connect. Programs send no `Origin` header; do not
    /// call this for them.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => list
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(origin)),
        }
    }

    /// Returns the listed origins. The list is empty if any origin is allowed.
    pub fn listed(&self) -> &[String] {
        match self {
            Self::Any => &[],
            Self::Listed(list) => list,
        }
    }

    /// Parses the entries of a list in any common spelling. An empty list, or one with a `*`, allows
    /// any origin.
    ///
    /// # Errors
    /// Returns the first entry that is no origin.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, InvalidOrigin> {
        let entries: Vec<_> = entries
            .into_iter()
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .collect();
        if entries.is_empty() || entries.contains(&"*") {
            return Ok(Self::Any);
        }
        entries
            .into_iter()
            .map(normalise)
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }
}

impl FromStr for Origins {
    type Err = InvalidOrigin;

    fn from_str(list: &str) -> Result<Self, InvalidOrigin> {
        Self::from_entries(list.split(','))
    }
}

/// Returns an origin in the form that browsers send (RFC 6454, section 6.2).
fn normalise(entry: &str) -> Result<String, InvalidOrigin> {
    let invalid = || InvalidOrigin(entry.to_owned());
    let lower = entry
        .strip_suffix('/')
        .unwrap_or(entry)
        .to_ascii_lowercase();
    let (scheme, host) = lower.split_once("://").ok_or_else(invalid)?;
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '*' | ',');
    if scheme.is_empty()
        || host.is_empty()
        || !host.chars().all(plain)
        || !scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    {
        return Err(invalid());
    }
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entries_are_normalised_to_the_form_browsers_send() {
        let origins: Origins =
            "https://Panel.example.com/, http://localhost:4200,https://x.example:443"
                .parse()
                .unwrap();
        assert_eq!(
            origins.listed(),
            [
                "https://panel.example.com",
                "http://localhost:4200",
                "https://x.example"
            ]
        );
        for allowed in [
            "https://panel.example.com",
            "http://localhost:4200",
            "https://x.example",
        ] {
            assert!(origins.allows(allowed), "{allowed}");
        }
        for refused in [
            "https://panel.example.com.evil.example",
            "http://panel.example.com",
            "null",
            "",
            "http://localhost",
        ] {
            assert!(!origins.allows(refused), "{refused}");
        }
    }

    #[test]
    fn empty_list_or_star_allows_any_origin() {
        for list in ["", " ", "*", "https://a.example, *"] {
            assert_eq!(list.parse(), Ok(Origins::Any), "{list:?}");
            assert!(Origins::Any.listed().is_empty() && Origins::Any.allows("null"));
        }
    }

    #[test]
    fn invalid_origin_is_named_in_the_error() {
        for entry in [
            "panel.example.com",
            "https://",
            "https://a.example/path",
            "null",
            "://a.example",
            "https://*.example.com",
            "https://u@a.example",
        ] {
            assert_eq!(entry.parse::<Origins>(), Err(InvalidOrigin(entry.into())));
        }
        let list = "https://a.example, b.example";
        assert_eq!(
            list.parse::<Origins>(),
            Err(InvalidOrigin("b.example".into()))
        );
    }

    proptest! {
        /// Whatever a setting accepts is used in the form that browsers send, which is accepted
        /// again and means the same.
        #[test]
        fn normal_form_is_stable(
            entry in "[a-zA-Z]{1,5}://[a-zA-Z0-9.\\-\\[\\]:]{1,20}/?", default_port: bool,
        ) {
            let entry = if default_port { format!("https://{entry}:443") } else { entry };
            if let Ok(normal) = normalise(&entry) {
                prop_assert_eq!(normalise(&normal), Ok(normal.clone()));
                prop_assert!(Origins::from_entries([entry.as_str()]).unwrap().allows(&normal));
            }
        }

        #[test]
        fn any_list_is_parsed_or_rejected(list: String) {
            let _ = list.parse::<Origins>();
        }
    }
}
