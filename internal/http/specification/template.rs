//! Words in a document, replaced.

use serde_json::{Map, Value};

/// A copy in which each of these words, wherever it stands in a text or a name, is another. They are replaced one after the other.
pub(super) fn filled(template: &Value, words: &[(&str, &str)]) -> Value {
    let text = |text: &str| {
        words.iter().fold(text.to_owned(), |text, (word, with)| {
            text.replace(word, with)
        })
    };
    match template {
        Value::String(string) => Value::String(text(string)),
        Value::Array(items) => items.iter().map(|item| filled(item, words)).collect(),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (text(name), filled(value, words)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The object at a JSON pointer, to be changed. The files are ours and hold it; a test reads them.
pub(super) fn object<'a>(
    document: &'a mut Value,
    pointer: &str,
) -> Option<&'a mut Map<String, Value>> {
    document.pointer_mut(pointer).and_then(Value::as_object_mut)
}

/// A document of ours, with the version of this program.
pub(super) fn base(text: &str) -> Value {
    let mut document: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(info) = object(&mut document, "/info") {
        info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    }
    document
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_replaced_in_names_and_texts() {
        let template = json!({"/{a}": ["{a}{b}", 1, null], "x": {"y": "{b}"}});
        assert_eq!(
            filled(&template, &[("{a}", "1"), ("{b}", "\"")]),
            json!({"/1": ["1\"", 1, null], "x": {"y": "\""}})
        );
    }
}
