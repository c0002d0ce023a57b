//! The arguments of an event or an acknowledgement.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The characters that JSON allows between values (RFC 8259 §2).
pub(super) const JSON_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Arguments as JSON text. The text is valid JSON. Strings with lone surrogates and values that are
/// nested too deeply fail only when they are read as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments<'a> {
    elements: &'a str,
}

impl<'a> Arguments<'a> {
    /// Wraps the elements of a valid JSON array, without its brackets.
    pub(super) fn new(elements: &'a str) -> Self {
        Self { elements }
    }

    /// Returns the JSON texts of all arguments, separated by commas.
    pub fn json(self) -> &'a str {
        self.elements
    }

    /// Returns whether there are no arguments.
    pub fn is_empty(self) -> bool {
        self.elements.is_empty()
    }

    /// Returns the JSON text of each argument.
    pub fn values(self) -> ArgumentValues<'a> {
        ArgumentValues {
            rest: self.elements,
        }
    }

    /// Reads the first argument. Returns `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if the argument does not have this type.
    pub fn first<T: Deserialize<'a>>(self) -> Result<Option<T>, serde_json::Error> {
        self.values().next().map(serde_json::from_str).transpose()
    }

    /// Reads all arguments.
    ///
    /// # Errors
    /// Returns an error if a string has a lone surrogate, or if a value is nested more than 127
    /// deep.
    pub fn to_values(self) -> Result<Vec<Value>, serde_json::Error> {
        self.values().map(serde_json::from_str).collect()
    }
}

/// The JSON texts of arguments, one by one.
#[derive(Debug, Clone)]
pub struct ArgumentValues<'a> {
    rest: &'a str,
}

impl<'a> Iterator for ArgumentValues<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        let rest = self.rest.get(values.byte_offset()..)?;
        let rest = rest.trim_start_matches(JSON_SPACE);
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        Some(value.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_at_their_commas() {
        let args = Arguments::new(r#"1, "a,\"]" ,[2,{"b":3}],null,-1e5,{"c":[]} "#);
        let texts: Vec<_> = args.values().collect();
        assert_eq!(
            texts,
            [
                "1",
                r#""a,\"]""#,
                r#"[2,{"b":3}]"#,
                "null",
                "-1e5",
                r#"{"c":[]}"#
            ]
        );
        assert_eq!(args.to_values().unwrap().len(), 6);
        assert_eq!(args.first::<u8>().unwrap(), Some(1));
        assert!(args.first::<String>().is_err());
        assert_eq!(Arguments::default().first::<u8>().unwrap(), None);
        assert_eq!(Arguments::default().values().count(), 0);
    }
}
