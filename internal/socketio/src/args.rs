//! The arguments of an event or an acknowledgement, between JSON text with attachments and values.

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _, SerializeTuple as _, Serializer};
use serde_json::Value;

/// The arguments after an event's name. Binary arguments are placeholders
/// (`{"_placeholder":true,"num":0}`) for the attachments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Args {
    /// The arguments in the order of the message.
    pub values: Vec<Value>,
    /// The binary attachments that the placeholders refer to, by index.
    pub attachments: Vec<Bytes>,
}

impl Args {
    /// Creates arguments without attachments.
    pub fn new(values: impl IntoIterator<Item = Value>) -> Self {
        Self {
            values: values.into_iter().collect(),
            attachments: Vec::new(),
        }
    }
}

/// Serializes as the crate's encoder expects several arguments: a tuple, with bytes in place of the
/// placeholders.
impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.values.len())?;
        for value in &self.values {
            tuple.serialize_element(&FilledValue {
                value,
                attachments: &self.attachments,
            })?;
        }
        tuple.end()
    }
}

/// A single argument of any type. It is wrapped in a tuple, so that an array stays one argument.
pub(super) struct SingleArg<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Serialize + ?Sized> Serialize for SingleArg<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(1)?;
        tuple.serialize_element(self.0)?;
        tuple.end()
    }
}

/// A value whose placeholders are replaced. A placeholder without an attachment stays plain JSON.
struct FilledValue<'a> {
    value: &'a Value,
    attachments: &'a [Bytes],
}

impl Serialize for FilledValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attachments = self.attachments;
        if attachments.is_empty() {
            return self.value.serialize(serializer);
        }
        if let Some(bytes) = self.attachment() {
            return serializer.serialize_bytes(bytes);
        }
        match self.value {
            Value::Array(values) => {
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    seq.serialize_element(&Self { value, attachments })?;
                }
                seq.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &Self { value, attachments })?;
                }
                map.end()
            }
            plain => plain.serialize(serializer),
        }
    }
}

impl FilledValue<'_> {
    fn attachment(&self) -> Option<&Bytes> {
        let fields = self
            .value
            .as_object()
            .filter(|fields| fields.get("_placeholder") == Some(&Value::Bool(true)))?;
        self.attachments
            .get(usize::try_from(fields.get("num")?.as_u64()?).ok()?)
    }
}

/// Splits an event's JSON array into its name and its arguments. Returns `None` if the text is not
/// such an array.
pub(super) fn parse_event(text: &str) -> Option<(String, Vec<Value>)> {
    let mut values = match serde_json::from_str(text) {
        Ok(Value::Array(values)) => values.into_iter(),
        _ => return None,
    };
    let Some(Value::String(name)) = values.next() else {
        return None;
    };
    Some((name, values.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_a_name_and_arguments() {
        let (name, values) = parse_event(r#"["a",1,[2],{"b":null}]"#).unwrap();
        assert_eq!((name.as_str(), values.len()), ("a", 3));
        for nothing in ["", "[]", "[1]", "{}", r#""a""#, r#"["a""#] {
            assert_eq!(parse_event(nothing), None, "{nothing}");
        }
    }
}
