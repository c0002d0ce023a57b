//! The types of keys and their canonical text.

use std::fmt;

use uuid::Uuid;

use latido_base::ident::Key;

/// The maximum length of a key, in bytes. A NOTIFY payload must be able to carry it.
pub const MAX_KEY_BYTES: usize = 200;

/// The type of a stream's key, as its query declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// The Postgres type `uuid`.
    Uuid,
    /// One of the types `bigint`, `integer` and `smallint`.
    Integer,
    /// One of the types `text` and `varchar`.
    Text,
}

/// The error for a text that is not a valid key of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidKey(pub KeyType);

impl KeyType {
    /// Parses a key as a client or a hook writes it. For UUIDs and integers, an optional prefix is
    /// removed (`negocio_7` becomes `7`). A text key is used unchanged.
    ///
    /// # Errors
    /// Returns an error if the text is not a valid key of this type.
    pub fn parse(self, text: &str, prefix: &str) -> Result<Key, InvalidKey> {
        let bare = text.strip_prefix(prefix).unwrap_or(text);
        match self {
            Self::Uuid => Uuid::try_parse(bare)
                .map(|id| Key::from_canonical(&id.to_string()))
                .map_err(|_| InvalidKey(self)),
            Self::Integer => parse_integer(bare)
                .map(|id| Key::from_canonical(&id.to_string()))
                .ok_or(InvalidKey(self)),
            Self::Text if is_valid_text_key(text) => Ok(Key::from_canonical(text)),
            Self::Text => Err(InvalidKey(self)),
        }
    }
}

/// Parses digits with an optional minus sign. `str::parse` alone would also accept a plus sign,
/// which would give one key two names.
fn parse_integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
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
                KeyType::Uuid.parse(name, "negocio_").unwrap().as_str(),
                canonical
            );
        }
        assert_eq!(
            KeyType::Integer
                .parse("negocio_007", "negocio_")
                .unwrap()
                .as_str(),
            "7"
        );
        assert_eq!(
            KeyType::Text
                .parse("negocio_123", "negocio_")
                .unwrap()
                .as_str(),
            "negocio_123"
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
