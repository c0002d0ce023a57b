//! Placeholders in JSON: `{"_placeholder":true,"num":0}` stands for the first attachment.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::decode::DecodeError;

/// Appends a placeholder.
pub(super) fn push_placeholder(out: &mut String, index: usize) {
    // Writing to a String cannot fail.
    let _ = write!(out, r#"{{"_placeholder":true,"num":{index}}}"#);
}

/// Returns the index of a placeholder. Returns `None` for any other value.
///
/// # Errors
/// Returns an error if the index is not a number of an attachment.
pub(super) fn placeholder_index(
    value: &Value,
    attachments: usize,
) -> Result<Option<usize>, DecodeError> {
    let fields = match value {
        Value::Object(fields) if is_placeholder(fields) => fields,
        _ => return Ok(None),
    };
    let index = fields.get("num").and_then(Value::as_u64);
    index
        .and_then(|index| usize::try_from(index).ok())
        .filter(|index| *index < attachments)
        .map(Some)
        .ok_or(DecodeError::Placeholder)
}

fn is_placeholder(fields: &Map<String, Value>) -> bool {
    fields.get("_placeholder") == Some(&Value::Bool(true))
}

/// Checks that every placeholder in a value refers to an attachment. The depth of a value that was
/// read from JSON is limited.
pub(super) fn check_placeholders(value: &Value, attachments: usize) -> Result<(), DecodeError> {
    if placeholder_index(value, attachments)?.is_some() {
        return Ok(());
    }
    match value {
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| check_placeholders(value, attachments)),
        Value::Object(fields) => fields
            .values()
            .try_for_each(|value| check_placeholders(value, attachments)),
        _ => Ok(()),
    }
}
