//! The types of keys and their canonical text.

use std::fmt;

use uuid::Uuid;

use crate::key_name::InvalidKey;
use crate::param::{parse_date, parse_integer};

/// The maximum length of a key, in bytes. A NOTIFY payload must be able to carry it.
pub const MAX_KEY_BYTES: usize = 200;

/// The type of a key part, as the stream's query declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    /// The Postgres type `uuid`.
    Uuid,
    /// One of the types `bigint`, `integer` and `smallint`.
    Integer,
    /// One of the types `text` and `varchar`.
    Text,
    /// The Postgres type `date`.
    Date,
    /// The Postgres type `boolean`.
    Boolean,
}

impl KeyType {
    /// Returns the canonical text of a part as a client or a hook writes it. For UUIDs and integers, an optional prefix is
    /// removed (`negocio_7` becomes `7`). A text key is used unchanged.
    ///
    /// # Errors
    /// Returns an error if the text is not a valid key of this type.
    pub fn parse(&self, text: &str, prefix: &str) -> Result<String, InvalidKey> {
        let bare = text.strip_prefix(prefix).unwrap_or(text);
        let canonical = match self {
            Self::Uuid => Uuid::try_parse(bare).map(|id| id.to_string()).ok(),
            Self::Integer => parse_integer(bare).map(|id| id.to_string()),
            Self::Text => is_valid_text_key(text).then(|| text.to_owned()),
            Self::Date => parse_date(text),
            Self::Boolean => matches!(text, "true" | "false").then(|| text.to_owned()),
        };
        canonical.ok_or_else(|| InvalidKey::Type(self.clone()))
    }
}

/// Returns `true` if a text key is acceptable. Postgres cannot store NUL in a text. Other control
/// characters are a mistake or an attempt to inject log lines.
fn is_valid_text_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_KEY_BYTES && !text.chars().any(char::is_control)
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid => f.write_str("a UUID"),
            Self::Integer => f.write_str("an integer"),
            Self::Text => write!(
                f,
                "a text of 1 to {MAX_KEY_BYTES} bytes without control characters"
            ),
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
