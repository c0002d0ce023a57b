//! What a subscriber may choose beside the key, such as a range of dates.

use std::fmt;

use jiff::civil::Date;

/// The default limit of a text, in bytes.
pub const DEFAULT_TEXT_BYTES: usize = 200;
/// The largest limit of a text that a configuration may set, in bytes. A channel's name holds it,
/// and a frame the name.
pub const MAX_TEXT_BYTES: usize = 1000;

/// A parameter of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// The name in a channel: `ventas:7?desde=2026-11-01`.
    pub name: String,
    /// The values that are possible.
    pub kind: ParamKind,
    /// The canonical value for subscribers that choose none. Without one, they must choose.
    pub default: Option<String>,
}

/// The values of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamKind {
    /// A day, `YYYY-MM-DD` (ISO 8601).
    Date,
    /// An integer of 64 bits.
    Integer,
    /// A text without control characters.
    Text {
        /// The longest text, in bytes.
        max_bytes: usize,
    },
    /// `true` or `false`.
    Boolean,
    /// One of these texts.
    Enum(Vec<String>),
}

impl ParamKind {
    /// Returns the length of the longest value, in bytes. Integers may have leading zeros.
    pub(crate) fn max_bytes(&self) -> usize {
        match self {
            Self::Text { max_bytes } => *max_bytes,
            Self::Enum(values) => values.iter().map(String::len).max().unwrap_or_default(),
            Self::Date | Self::Integer | Self::Boolean => 40,
        }
    }

    /// Returns the canonical text of a value, or `None` if it is not possible.
    pub fn parse(&self, text: &str) -> Option<String> {
        match self {
            Self::Date => parse_date(text),
            Self::Integer => parse_integer(text).map(|value| value.to_string()),
            Self::Text { max_bytes } => {
                let is_valid = text.len() <= *max_bytes && !text.chars().any(char::is_control);
                is_valid.then(|| text.to_owned())
            }
            Self::Boolean => matches!(text, "true" | "false").then(|| text.to_owned()),
            Self::Enum(values) => values.iter().find(|value| *value == text).cloned(),
        }
    }
}

/// Writes what a value must be, for messages.
impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Date => f.write_str("a date such as 2026-11-30"),
            Self::Integer => f.write_str("an integer"),
            Self::Text { max_bytes } => write!(
                f,
                "a text of at most {max_bytes} bytes without control characters"
            ),
            Self::Boolean => f.write_str("true or false"),
            Self::Enum(values) => f.write_str(&values.join(" or ")),
        }
    }
}

/// Parses a day of the years 1 to 9999 and returns its canonical text.
pub(crate) fn parse_date(text: &str) -> Option<String> {
    let is_iso = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let date: Date = is_iso.then(|| text.parse().ok()).flatten()?;
    (date.year() > 0).then(|| date.to_string())
}

/// Parses digits with an optional minus sign. `str::parse` alone would also accept a plus sign,
/// which would give one key two names.
pub(crate) fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let has_only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    has_only_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_one_canonical_text() {
        let kind = ParamKind::Enum(vec!["a".to_owned(), "b".to_owned()]);
        for (kind, text, canonical) in [
            (ParamKind::Date, "2026-02-28", Some("2026-02-28")),
            (ParamKind::Date, "2026-02-29", None),
            (ParamKind::Date, "2026-2-8", None),
            (ParamKind::Date, "0000-01-01", None),
            (ParamKind::Date, "2026-02-28T00:00", None),
            (ParamKind::Integer, "007", Some("7")),
            (ParamKind::Integer, "-0", Some("0")),
            (ParamKind::Integer, "+7", None),
            (ParamKind::Integer, "9223372036854775808", None),
            (ParamKind::Text { max_bytes: 3 }, "", Some("")),
            (ParamKind::Text { max_bytes: 3 }, "ñab", None),
            (ParamKind::Text { max_bytes: 3 }, "a\u{1f}", None),
            (ParamKind::Boolean, "true", Some("true")),
            (ParamKind::Boolean, "1", None),
            (kind.clone(), "b", Some("b")),
            (kind, "B", None),
        ] {
            assert_eq!(kind.parse(text).as_deref(), canonical, "{kind:?} {text:?}");
        }
    }
}
