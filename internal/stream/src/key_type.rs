//! The types of keys and their canonical text.

use std::fmt;

use uuid::Uuid;

use crate::enum_labels::EnumLabels;
use crate::lower_case::LowerCase;
use crate::param::{parse_date, parse_integer};
use crate::text_key::{MAX_KEY_BYTES, valid_text_key};

/// The type of a key part, as the stream's query declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    /// The Postgres type `uuid`.
    Uuid,
    /// One of the types `bigint`, `integer` and `smallint`.
    Integer,
    /// The Postgres type `numeric` without a fraction: a whole number of any size.
    Numeric,
    /// One of the types `text` and `varchar`.
    Text,
    /// The Postgres type `char(n)`, which takes no account of blanks at the end.
    Padded,
    /// The type `citext` of the extension of this name, which takes no account of upper case.
    CaseInsensitive(LowerCase),
    /// The Postgres type `date`.
    Date,
    /// The Postgres type `boolean`.
    Boolean,
    /// An enum.
    Enum(EnumLabels),
}

/// The error for a text that is no value of a key part's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct WrongType(pub KeyType);

impl KeyType {
    /// Returns the canonical text of a part as a client or a hook writes it: the text that PostgreSQL
    /// gives to the equal value of a column. For UUIDs and numbers, an optional prefix is removed
    /// (`negocio_7` becomes `7`).
    ///
    /// # Errors
    /// Returns an error if the text is not a valid key of this type.
    pub fn parse(&self, text: &str, prefix: &str) -> Result<String, WrongType> {
        let bare = text.strip_prefix(prefix).unwrap_or(text);
        let canonical = match self {
            Self::Uuid => Uuid::try_parse(bare).map(|id| id.to_string()).ok(),
            Self::Integer => parse_integer(bare).map(|id| id.to_string()),
            Self::Numeric => parse_numeric(bare),
            Self::Text => valid_text_key(text.to_owned()),
            Self::Padded => valid_text_key(text.trim_end_matches(' ').to_owned()),
            Self::CaseInsensitive(lower_case) => lower_case.apply(text).and_then(valid_text_key),
            Self::Enum(labels) => labels.contains(text).then(|| text.to_owned()),
            Self::Date => parse_date(text),
            Self::Boolean => matches!(text, "true" | "false").then(|| text.to_owned()),
        };
        canonical.ok_or_else(|| WrongType(self.clone()))
    }

    /// Takes what a later description of the same key part says: an enum may have other labels by
    /// then. Returns `false`, and changes nothing, if keys have other canonical texts now.
    pub fn learn(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Enum(own), Self::Enum(later)) => own.replace(later),
            _ => return self == later,
        }
        true
    }
}

/// Parses digits with an optional minus sign, of any number, and returns them without leading zeros.
fn parse_numeric(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => format!("{sign}{digits}"),
    };
    (is_number && canonical.len() <= MAX_KEY_BYTES).then_some(canonical)
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid => f.write_str("a UUID"),
            Self::Integer => f.write_str("an integer"),
            Self::Numeric => write!(
                f,
                "a whole number of at most {MAX_KEY_BYTES} digits without a fraction"
            ),
            Self::Text | Self::Padded => write!(
                f,
                "a text of 1 to {MAX_KEY_BYTES} bytes without control characters"
            ),
            Self::CaseInsensitive(lower_case) => {
                write!(
                    f,
                    "a text of 1 to {MAX_KEY_BYTES} bytes without control characters, in upper or lower case"
                )?;
                lower_case.write_exceptions(f)
            }
            Self::Enum(labels) => labels.fmt(f),
            Self::Date => f.write_str("a date such as 2026-11-30"),
            Self::Boolean => f.write_str("true or false"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_key_have_one_canonical_text() {
        let canonical = "6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";
        for name in [
            canonical,
            "6F1C9C1E-50A5-4B1F-9D53-0C9D6F0A7A11",
            "negocio_6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11",
        ] {
            assert_eq!(
                KeyType::Uuid.parse(name, "negocio_").as_deref(),
                Ok(canonical)
            );
        }
        assert_eq!(
            KeyType::Integer.parse("negocio_007", "negocio_").as_deref(),
            Ok("7")
        );
        assert_eq!(
            KeyType::Text.parse("negocio_123", "negocio_").as_deref(),
            Ok("negocio_123")
        );
    }

    #[test]
    fn whole_numbers_of_any_size_have_one_text() {
        let long = "9".repeat(MAX_KEY_BYTES);
        for (text, canonical) in [
            ("7", Some("7")),
            ("negocio_007", Some("7")),
            ("-0", Some("0")),
            ("-000", Some("0")),
            ("-012", Some("-12")),
            (
                "00012345678901234567890123",
                Some("12345678901234567890123"),
            ),
            (&*long, Some(&*long)),
            (&*format!("0{long}"), Some(&*long)),
            (&*format!("-{long}"), None),
            ("", None),
            ("-", None),
            ("--1", None),
            ("+7", None),
            ("7.0", None),
            ("1e3", None),
            ("1_000", None),
            (" 7", None),
            ("NaN", None),
        ] {
            let parsed = KeyType::Numeric.parse(text, "negocio_").ok();
            assert_eq!(parsed.as_deref(), canonical, "{text:?}");
        }
    }

    #[test]
    fn blanks_at_the_end_of_char_do_not_count() {
        for (text, canonical) in [
            ("ab  ", Some("ab")),
            (" ab", Some(" ab")),
            ("ab\u{a0}", Some("ab\u{a0}")),
            ("  ", None),
            ("", None),
            ("ab\t", None),
        ] {
            let parsed = KeyType::Padded.parse(text, "negocio_").ok();
            assert_eq!(parsed.as_deref(), canonical, "{text:?}");
        }
    }

    #[test]
    fn case_does_not_count_where_the_database_says_so() {
        let pairs = [('A', "a"), ('Ñ', "ñ"), ('İ', "i\u{307}")];
        let pairs = pairs.map(|(upper, lower)| (upper, Some(lower.to_owned())));
        let of = KeyType::CaseInsensitive(LowerCase::new(pairs.into_iter().chain([('Σ', None)])));
        for (text, canonical) in [
            ("aAñÑ", Some("aaññ")),
            ("İB", Some("i\u{307}B")),
            ("ΑΣ", None),
            ("ας", Some("ας")),
            ("", None),
        ] {
            assert_eq!(of.parse(text, "a").ok().as_deref(), canonical, "{text:?}");
        }
        let longer = KeyType::CaseInsensitive(LowerCase::new([('A', Some("ab".to_owned()))]));
        assert!(longer.parse(&"A".repeat(MAX_KEY_BYTES), "").is_err());
        let message = of.parse("Σ", "").unwrap_err().to_string();
        assert!(message.contains("except Σ"), "{message}");
    }

    #[test]
    fn clones_of_an_enum_learn_its_labels() {
        let labels = |all: &[&str]| KeyType::Enum(EnumLabels::new(all.iter().copied()));
        let of = labels(&["bien", "mal", ""]);
        let shared = of.clone();
        assert_eq!(of.parse("bien", "b").as_deref(), Ok("bien"));
        for other in ["regular", "BIEN", "bien ", ""] {
            assert!(of.parse(other, "").is_err(), "{other:?}");
        }
        let message = of.parse("regular", "").unwrap_err().to_string();
        assert_eq!(message, "expected bien or mal");
        assert!(of.learn(&labels(&["bien", "regular"])));
        assert!(shared.parse("regular", "").is_ok() && shared.parse("mal", "").is_err());
        assert!(!of.learn(&KeyType::Text) && KeyType::Text.learn(&KeyType::Text));
    }

    #[test]
    fn invalid_keys_are_rejected() {
        for text in ["", "x", "12", "negocio_"] {
            assert!(KeyType::Uuid.parse(text, "negocio_").is_err(), "{text:?}");
        }
        for text in ["", "-", "+7", "1.5", "9223372036854775808", " 7"] {
            assert!(
                KeyType::Integer.parse(text, "negocio_").is_err(),
                "{text:?}"
            );
        }
        for text in ["", "a\0b", "a\nb", &"x".repeat(MAX_KEY_BYTES + 1)] {
            assert!(KeyType::Text.parse(text, "negocio_").is_err(), "{text:?}");
        }
    }
}
