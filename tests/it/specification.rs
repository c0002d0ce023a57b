//! Compares the published documents with the code and with the responses of a running server.
//! Neither side may change alone.

mod addresses;
mod answers;
mod apps;
mod messages;
mod streams;

use std::fs;
use std::path::Path;

use jsonschema::Draft;
use serde_json::{Value, json};

use crate::harness::TestApp;

/// Returns the repository's document for a server with any stream.
pub(crate) fn base_document(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("internal/http/src/specification")
        .join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A specification document that a server publishes.
struct ApiDocument(Value);

impl ApiDocument {
    async fn fetch(app: &TestApp, path: &str) -> Self {
        let (status, text) = app.get(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// Returns the reason why a value does not match a schema of this document, or `None` if it
    /// matches.
    fn mismatch(&self, schema: &Value, value: &Value) -> Option<String> {
        // The schema's references are relative to the document root, so validate with the root plus
        // one rule.
        let mut root = self.0.clone();
        root["allOf"] = json!([schema]);
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .build(&root)
            .expect("a schema");
        validator
            .validate(value)
            .err()
            .map(|error| format!("{error} at {} in {value}", error.instance_path()))
    }

    fn check(&self, what: &str, schema: &Value, value: &Value) {
        assert_eq!(self.mismatch(schema, value), None, "{what}");
    }

    /// Returns the target of a reference in this document. Returns any other value unchanged.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(pointer) = value.get("$ref").and_then(Value::as_str) else {
            return value;
        };
        let target = self.0.pointer(pointer.trim_start_matches('#'));
        target.unwrap_or_else(|| panic!("{pointer} points at nothing"))
    }

    /// Asserts that every reference has a target, every schema is valid, and its examples match it.
    fn check_consistency(&self) {
        let mut examples = 0;
        walk(&self.0, &mut |value| {
            self.resolve(value);
            for (schema, example) in examples_of(value) {
                self.check("an example", schema, example);
                examples += 1;
            }
        });
        assert!(examples > 0, "there are examples");
        for (name, schema) in self.0["components"]["schemas"]
            .as_object()
            .expect("schemas")
        {
            jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        // A stream of `modules` has a key of this name.
        let text = self.0.to_string().replace("/modules_stats/{key}", "");
        for word in [
            "{stream}",
            "{key}",
            "{event}",
            "{hook}",
            "schemas/Data\"",
            "0.0.0",
        ] {
            assert!(!text.contains(word), "{word} was not filled in");
        }
        assert_eq!(self.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

/// Returns the examples next to a schema: those of a body, a message or the schema itself.
fn examples_of(value: &Value) -> Vec<(&Value, &Value)> {
    let body = value.get("schema").zip(value.get("example")).into_iter();
    let examples = || {
        value
            .get("examples")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let of_message = value.get("payload").into_iter();
    let of_message = of_message
        .flat_map(|payload| examples().map(move |example| (payload, &example["payload"])));
    let is_schema = ["type", "anyOf", "pattern"]
        .iter()
        .any(|word| value.get(word).is_some());
    let own = examples()
        .filter(|_| is_schema)
        .map(|example| (value, example));
    body.chain(of_message).chain(own).collect()
}

fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

/// Returns the strings of a JSON array.
fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .expect("an array")
        .iter()
        .map(|item| item.as_str().expect("a string"))
        .collect()
}
