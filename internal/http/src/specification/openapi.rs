//! `openapi.json`, filled in: each stream's addresses and schemas replace the generic ones.

use serde_json::{Value, json};

use crate::app_mounts::AppMounts;
use crate::specification::app_parts::add_apps;
use crate::specification::placeholders::{load_document, object_at, substitute};
use crate::specification::stream_docs::StreamDocs;

const BASE: &str = include_str!("openapi.json");

/// The generic addresses, which stand for those of any stream.
const READ: &str = "/{stream}/{key}";

const FOLLOW: &str = "/{stream}/{key}/events";

const HOOK: &str = "/notify/{hook}";

pub(super) fn render(streams: &[StreamDocs], mounts: &AppMounts) -> Value {
    let mut document = load_document(BASE);
    if let Some(paths) = object_at(&mut document, "/paths") {
        *paths = std::mem::take(paths)
            .into_iter()
            .flat_map(|(path, item)| expand_path(path, item, streams))
            .collect();
    }
    if let Some(schemas) = object_at(&mut document, "/components/schemas") {
        let generic =
            ["Key", "Data", "Change"].map(|name| schemas.shift_remove(name).unwrap_or_default());
        let [_, data, change] = generic;
        schemas.extend(
            streams
                .iter()
                .flat_map(|stream| stream_schemas(stream, &data, &change)),
        );
    }
    add_apps(&mut document, mounts);
    document
}

/// Expands a path of the base document: to itself, or to one for each stream.
fn expand_path(path: String, item: Value, streams: &[StreamDocs]) -> Vec<(String, Value)> {
    match path.as_str() {
        READ | FOLLOW => streams
            .iter()
            .map(|stream| stream_path(stream, &path, &item, &stream.name))
            .collect(),
        HOOK => {
            let hooks = streams
                .iter()
                .flat_map(|stream| stream.hook_paths.iter().map(move |hook| (stream, hook)));
            hooks
                .map(|(stream, hook)| stream_path(stream, &path, &item, hook))
                .collect()
        }
        _ => vec![(path, item)],
    }
}

fn stream_path(stream: &StreamDocs, path: &str, item: &Value, hook: &str) -> (String, Value) {
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
    let mut item = substitute(item, &replacements);
    specialise_parameters(&mut item, &stream.key_field);
    if let Some(operations) = item.as_object_mut() {
        operations
            .values_mut()
            .for_each(|operation| specialise_parameters(operation, &stream.key_field));
    }
    (
        substitute(&Value::from(path), &replacements)
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        item,
    )
}

/// Removes the parameters that are now fixed, and names the key's parameter after the key field.
fn specialise_parameters(of: &mut Value, key_field: &str) {
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

fn stream_schemas(stream: &StreamDocs, data: &Value, change: &Value) -> [(String, Value); 3] {
    let StreamDocs {
        name, key_field, ..
    } = stream;
    let key = format!("#/components/schemas/Key.{name}");
    let row = with_description_of(
        stream.data_schema(&key, "#/components/schemas/Timestamp"),
        data,
    );
    let key = stream.hook_key_schema(&key);
    let named = |name: &str| json!({"required": [name], "properties": {name: key}});
    let generic = match key_field.as_str() {
        "key" => named("key"),
        // `key` counts only where the field with the key's own name is missing.
        field => json!({"allOf": [named("key"), {"not": {"required": [field]}}]}),
    };
    let hint = json!({
        "type": "object", "anyOf": [named(key_field), generic],
        "properties": {"action": change["properties"]["action"]},
        "examples": [{key_field.as_str(): stream.example_key(), "action": "created"}],
    });
    let hint = with_description_of(hint, change);
    [
        (format!("Key.{name}"), stream.key_schema()),
        (format!("Data.{name}"), row),
        (format!("Change.{name}"), hint),
    ]
}

/// Copies the description of another schema.
fn with_description_of(mut schema: Value, like: &Value) -> Value {
    schema["description"] = like["description"].clone();
    schema
}
