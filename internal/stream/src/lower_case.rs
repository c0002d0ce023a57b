//! The lower case of texts as the database writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What PostgreSQL's `lower` makes of each character, in the default collation of the database.
///
/// It depends on the locale and on its provider: `C` knows the letters of ASCII alone, and Turkish
/// gives `I` another lower case. So the database is asked for all characters that change. Clones
/// share the table.
#[derive(Clone, PartialEq, Eq)]
pub struct LowerCase(Arc<BTreeMap<char, Option<Box<str>>>>);

impl LowerCase {
    /// Creates the table from each character that `lower` changes and the result. The result is
    /// `None` if it depends on the characters around it, as that of a sigma at the end of a word.
    pub fn new(changed: impl IntoIterator<Item = (char, Option<String>)>) -> Self {
        let boxed = |(from, to): (char, Option<String>)| (from, to.map(String::into_boxed_str));
        Self(Arc::new(changed.into_iter().map(boxed).collect()))
    }

    /// Returns the text in lower case, or `None` if it has a character whose lower case depends on
    /// the others.
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut lower = String::with_capacity(text.len());
        for character in text.chars() {
            match self.0.get(&character) {
                None => lower.push(character),
                Some(changed) => lower.push_str(changed.as_deref()?),
            }
        }
        Some(lower)
    }

    /// Writes which characters must be written in lower case already, if any.
    pub(crate) fn write_exceptions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = " except ";
        for (character, _) in self.0.iter().filter(|(_, lower)| lower.is_none()) {
            write!(f, "{before}{character}")?;
            before = ", ";
        }
        if before == ", " {
            f.write_str(", whose lower case depends on its neighbours")?;
        }
        Ok(())
    }
}

/// Without the table, which has more than a thousand characters.
impl fmt::Debug for LowerCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LowerCase({} characters)", self.0.len())
    }
}
