//! The allow-list of browser origins, and the origin of a request's own host.

use std::str::FromStr;

/// The allow-list of `ALLOWED_ORIGINS`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origins {
    /// Every page. Safe, because nothing that a browser adds by itself (such as a cookie) ever
    /// authenticates here.
    #[default]
    Any,
    /// Only these origins, in the form browsers send: lower case, no path, no default port. `null`
    /// and `file://` are the two without a host.
    Listed(Vec<String>),
}

/// The origin of a sandboxed page and, in most browsers, of a local file.
const NULL: &str = "null";
/// The origin of a local file in other browsers, and of libraries for devices.
const FILE: &str = "file://";

/// The error for a list entry that is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no origin; expected a comma-separated list such as https://panel.example.com,http://localhost:4200, also null and file://, or *"
)]
pub struct InvalidOrigin(pub String);

impl Origins {
    /// Returns whether a page of that origin may connect. A path is ignored: browsers send none,
    /// but programs do. Most programs send no `Origin` header; do not call this for them.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(list) => {
                let origin = without_path(origin);
                list.iter()
                    .any(|listed| listed.eq_ignore_ascii_case(origin))
            }
        }
    }

    /// Returns the allow-list with more origins, which are in the form that browsers send.
    #[must_use]
    pub fn with(&self, more: &[String]) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Listed(list) => Self::Listed([list, more].concat()),
        }
    }

    /// Returns whether every listed origin names a host. Any page can have one that does not.
    pub fn have_hosts(&self) -> bool {
        self.listed()
            .iter()
            .all(|origin| origin != NULL && origin != FILE)
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
    match &*lower {
        NULL => return Ok(NULL.to_owned()),
        // The last slash was removed.
        "file:/" | FILE => return Ok(FILE.to_owned()),
        _ => {}
    }
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
    let host = match default_port(scheme) {
        Some(port) => host.strip_suffix(port).unwrap_or(host),
        None => host,
    };
    Ok(format!("{scheme}://{host}"))
}

/// Returns the port that a URL of this scheme need not name, with its colon.
fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" | "ws" => Some(":80"),
        "https" | "wss" => Some(":443"),
        _ => None,
    }
}

fn without_path(origin: &str) -> &str {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return origin;
    };
    let host_bytes = rest.find('/').unwrap_or(rest.len());
    &origin[..scheme.len() + "://".len() + host_bytes]
}

/// Returns whether an origin is that of the server itself, as the request's `Host` names it.
///
/// Only host and port are compared. The server cannot know the scheme, because a proxy may end TLS;
/// and some programs send the scheme of a WebSocket, or build the origin from its URL.
pub fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = without_path(origin).split_once("://") else {
        return false;
    };
    let Some(port) = default_port(&scheme.to_ascii_lowercase()) else {
        return false;
    };
    let without_port = |authority: &str| {
        let bare = authority.strip_suffix(port).unwrap_or(authority);
        bare.to_ascii_lowercase()
    };
    let name = without_port(authority);
    !name.is_empty() && name == without_port(host)
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
    fn origins_without_a_host_can_be_listed() {
        let origins: Origins = "NULL,file:///, capacitor://localhost".parse().unwrap();
        assert_eq!(
            origins.listed(),
            ["null", "file://", "capacitor://localhost"]
        );
        for allowed in ["null", "file://", "file:///", "capacitor://localhost"] {
            assert!(origins.allows(allowed), "{allowed}");
        }
        assert!(!origins.allows("nul") && !origins.allows("https://null"));
        assert!(!origins.have_hosts() && Origins::Any.have_hosts());
        assert!("https://null".parse::<Origins>().unwrap().have_hosts());
    }

    #[test]
    fn path_of_an_origin_is_ignored() {
        let origins: Origins = "https://github.com".parse().unwrap();
        // A library for Arduino sends this.
        assert!(origins.allows("https://github.com/gilmaimon/TinyWebsockets"));
        assert!(!origins.allows("https://github.com.evil.example/"));
    }

    #[test]
    fn list_is_extended_and_any_stays_any() {
        let more = ["https://b.example".to_owned()];
        let origins: Origins = "https://a.example".parse().unwrap();
        assert!(!origins.allows("https://b.example"));
        let origins = origins.with(&more);
        assert!(origins.allows("https://a.example") && origins.allows("https://b.example"));
        assert_eq!(Origins::Any.with(&more), Origins::Any);
    }

    #[test]
    fn host_of_the_request_is_the_same_origin() {
        for (origin, host) in [
            ("http://latido.example", "latido.example"),
            ("https://Latido.Example", "latido.example"),
            ("https://latido.example", "latido.example:443"),
            ("http://latido.example:80", "latido.example"),
            ("http://10.0.0.7:8080", "10.0.0.7:8080"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080"),
            // What programs send: websocket-client, Starscream, and Go's x/net with a slash.
            ("http://localhost:8080", "localhost:8080"),
            ("wss://latido.example", "latido.example"),
            ("http://localhost:8080/", "localhost:8080"),
        ] {
            assert!(is_same_origin(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "latido.example"),
            ("http://latido.example:8080", "latido.example"),
            ("http://latido.example", "latido.example:8080"),
            ("https://latido.example:80", "latido.example"),
            ("http://latido.example.evil.example", "latido.example"),
            ("http://latido.example@evil.example", "latido.example"),
            ("file://", ""),
            ("http://", ""),
            ("http://:80", ""),
            ("null", "null"),
            ("latido.example", "latido.example"),
            ("file://latido.example", "latido.example"),
            ("http://latido.example", "latido.example, evil.example"),
        ] {
            assert!(!is_same_origin(origin, host), "{origin} {host}");
        }
    }

    #[test]
    fn invalid_origin_is_named_in_the_error() {
        for entry in [
            "panel.example.com",
            "https://",
            "https://a.example/path",
            "nul",
            "file:",
            "file",
            "null://",
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
