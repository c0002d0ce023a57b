//! `openapi.json`, filled in: each stream's addresses and schemas replace the generic ones.

use serde_json::{Map, Value, json};

use crate::specification::facts::Facts;
use crate::specification::template::{base, filled, object};

const BASE: &str = include_str!("openapi.json");
/// The generic addresses, which stand for those of any stream.
const READ: &str = "/{stream}/{key}";
const FOLLOW: &str = "/{stream}/{key}/events";
const HOOK: &str = "/notify/{hook}";

pub(super) fn write(streams: &[Facts]) -> Value {
    let mut document = base(BASE);
    if let Some(paths) = object(&mut document, "/paths") {
        *paths = std::mem::take(paths)
            .into_iter()
            .flat_map(|(path, item)| addresses(path, item, streams))
            .collect();
    }
    if let Some(schemas) = object(&mut document, "/components/schemas") {
        let generic =
            ["Key", "Data", "Change"].map(|name| schemas.shift_remove(name).unwrap_or_default());
        let [_, data, change] = generic;
        schemas.extend(
            streams
                .iter()
                .flat_map(|stream| of_stream(stream, &data, &change)),
        );
    }
    document
}

/// Expands a path of the base document: to itself, or to one for each stream.
fn addresses(path: String, item: Value, streams: &[Facts]) -> Vec<(String, Value)> {
    match path.as_str() {
        READ | FOLLOW => streams
            .iter()
            .map(|stream| address(stream, &path, &item, &stream.name))
            .collect(),
        HOOK => {
            let hooks = streams
                .iter()
                .flat_map(|stream| stream.hooks.iter().map(move |hook| (stream, hook)));
            hooks
                .map(|(stream, hook)| address(stream, &path, &item, hook))
                .collect()
        }
        _ => vec![(path, item)],
    }
}

fn address(stream: &Facts, path: &str, item: &Value, hook: &str) -> (String, Value) {
    let name = &stream.name;
    let key = format!("{{{}}}", stream.key_field);
    let schema = |of: &str| format!("#/components/schemas/{of}.{name}");
    let replacements = [
        ("{stream}", name.as_str()),
        ("{event}", &stream.event),
        ("{hook}", hook),
        ("{key}", &key),
        ("#/components/schemas/Key", &schema("Key")),
        ("#/components/schemas/Data", &schema("Data")),
        ("#/components/schemas/Change", &schema("Change")),
    ];
    let mut item = filled(item, &replacements);
    settle_parameters(&mut item, &stream.key_field);
    if let Some(operations) = item.as_object_mut() {
        operations
            .values_mut()
            .for_each(|operation| settle_parameters(operation, &stream.key_field));
    }
    (
        filled(&Value::from(path), &replacements)
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        item,
    )
}

/// Removes the parameters that are now fixed, and names the key's parameter after the key field.
fn settle_parameters(of: &mut Value, key_field: &str) {
    let Some(parameters) = of.get_mut("parameters").and_then(Value::as_array_mut) else {
        return;
    };
    parameters.retain(|parameter| parameter["name"] != "stream" && parameter["name"] != "hook");
    for parameter in parameters
        .iter_mut()
        .filter(|parameter| parameter["name"] == "key")
    {
        parameter["name"] = key_field.into();
    }
    if parameters.is_empty() {
        of.as_object_mut().map(|of| of.shift_remove("parameters"));
    }
}

fn of_stream(stream: &Facts, data: &Value, change: &Value) -> [(String, Value); 3] {
    let Facts {
        name, key_field, ..
    } = stream;
    let key = format!("#/components/schemas/Key.{name}");
    let row = described(stream.data(&key, "#/components/schemas/Timestamp"), data);
    let mut properties = Map::new();
    properties.insert(key_field.clone(), stream.hinted_key(&key));
    properties.insert("key".into(), stream.hinted_key(&key));
    properties.insert("action".into(), change["properties"]["action"].clone());
    let hint = json!({
        "type": "object", "anyOf": [{"required": [key_field]}, {"required": ["key"]}], "properties": properties,
        "examples": [{key_field.as_str(): stream.example_key(), "action": "created"}],
    });
    let hint = described(hint, change);
    [
        (format!("Key.{name}"), stream.key()),
        (format!("Data.{name}"), row),
        (format!("Change.{name}"), hint),
    ]
}

/// Copies the description of another schema.
fn described(mut schema: Value, like: &Value) -> Value {
    schema["description"] = like["description"].clone();
    schema
}
