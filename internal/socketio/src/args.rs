//! The arguments of an event or an acknowledgement, between JSON text with attachments and values.

use bytes::Bytes;
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

    /// Returns the JSON texts of the arguments, separated by commas.
    pub(crate) fn to_json(&self) -> String {
        let texts: Vec<_> = self.values.iter().map(Value::to_string).collect();
        texts.join(",")
    }

    /// Returns the bytes that the arguments take, roughly.
    pub(crate) fn size_bytes(&self) -> usize {
        let attachments: usize = self.attachments.iter().map(Bytes::len).sum();
        attachments + self.values.iter().map(value_bytes).sum::<usize>()
    }
}

/// Returns the bytes that a value takes, roughly.
fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| name.len() + value_bytes(value))
                .sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
