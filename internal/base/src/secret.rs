//! A text that must never be printed.

use std::fmt;

/// A secret, or a URL that holds one. It prints as `[redacted]`; only [`Secret::expose`] returns
/// the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret itself, for the code that must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the length in bytes. It is never zero for a setting, because an empty variable
    /// counts as unset.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        let text = format!(
            "{:?} {:#?}",
            Secret::new("hunter2"),
            Some(Secret::new("hunter2"))
        );
        assert!(!text.contains("hunter2") && !text.contains('7'), "{text}");
    }
}
