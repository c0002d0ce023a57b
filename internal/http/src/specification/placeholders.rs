//! Replacing placeholders in a JSON document.

use serde_json::{Map, Value};

/// Returns a copy in which each placeholder is replaced, in texts and in field names. The
/// replacements are applied one after the other.
pub(super) fn substitute(template: &Value, replacements: &[(&str, &str)]) -> Value {
    let text = |text: &str| {
        replacements
            .iter()
            .fold(text.to_owned(), |text, (placeholder, with)| {
                text.replace(placeholder, with)
            })
    };
    match template {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => items
            .iter()
            .map(|item| substitute(item, replacements))
            .collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (text(name), substitute(value, replacements)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// Returns the object at a JSON pointer, for changes. The embedded files contain it; a test reads
/// them.
pub(super) fn object_at<'a>(
    document: &'a mut Value,
    pointer: &str,
) -> Option<&'a mut Map<String, Value>> {
    document.pointer_mut(pointer).and_then(Value::as_object_mut)
}

/// Parses an embedded document and sets this program's version.
pub(super) fn load_document(text: &str) -> Value {
    let mut document: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(info) = object_at(&mut document, "/info") {
        info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_replaced_in_names_and_texts() {
        let template = json!({"/{a}": ["{a}{b}", 1, null], "x": {"y": "{b}"}});
        assert_eq!(
            substitute(&template, &[("{a}", "1"), ("{b}", "\"")]),
            json!({"/1": ["1\"", 1, null], "x": {"y": "\""}})
        );
    }
}
