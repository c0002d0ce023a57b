//! The name of an installation, which owns objects in the database.

use std::fmt;

use crate::quote::quote_ident;

/// The largest size of a name in bytes. Names of triggers begin with it, and need room for more.
const MAX_BYTES: usize = 24;

/// Names that belong to PostgreSQL, to everybody, or to other parts of Latido.
const RESERVED: [&str; 4] = [
    "public",
    "information_schema",
    "latido_modules",
    "latido_history",
];

/// The name of an installation: that of the schema with its functions, and the prefix of its
/// triggers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceName(String);

impl InstanceName {
    /// Parses a name. Returns `None` if it is not 1 to 24 lower-case letters, digits and
    /// underscores that begin with a letter, or if it is reserved.
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_valid = text.len() <= MAX_BYTES
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(is_word)
            && !text.starts_with("pg_")
            && !RESERVED.contains(&text);
        is_valid.then(|| Self(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name as an identifier in SQL. Some words need quotes.
    pub(crate) fn sql(&self) -> String {
        if *self == Self::default() {
            self.0.clone()
        } else {
            quote_ident(&self.0)
        }
    }
}

impl Default for InstanceName {
    fn default() -> Self {
        Self("latido".to_owned())
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quotes_and_belong_to_nobody_else() {
        for name in ["latido", "a", "staging_2"] {
            assert_eq!(InstanceName::parse(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(25);
        let refused = [
            "",
            "Latido",
            "2a",
            "_a",
            "a-b",
            "a b",
            "a\"",
            "ñ",
            "pg_x",
            "public",
            &long,
            "latido_history",
        ];
        for name in refused {
            assert_eq!(InstanceName::parse(name), None, "{name}");
        }
        assert!(InstanceName::parse(InstanceName::default().as_str()).is_some());
    }
}
