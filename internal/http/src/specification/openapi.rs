//! `openapi.json`, filled in: each stream's addresses and schemas replace the generic ones.

use serde_json::{Map, Value, json};

use crate::app_mounts::AppMounts;
use crate::specification::app_parts::add_apps;
use crate::specification::placeholders::{load_document, object_at, substitute};
use crate::specification::schema::query_parameter;
use crate::specification::stream_docs::{PartDocs, StreamDocs};

const BASE: &str = include_str!("openapi.json");

/// The generic addresses, which stand for those of any stream.
const READ: &str = "/{stream}/{key}";

const FOLLOW: &str = "/{stream}/{key}/events";

const HOOK: &str = "/notify/{hook}";

/// The folder of the demo's addresses, and the start of its schemas' names.
const DEMO: (&str, &str) = ("/demo/", "Demo");

pub(super) fn render(streams: &[StreamDocs], mounts: &AppMounts, is_demo: bool) -> Value {
    let mut document = load_document(BASE);
    if !is_demo {
        remove_demo(&mut document);
    }
    if let Some(paths) = object_at(&mut document, "/paths") {
        *paths = std::mem::take(paths)
            .into_iter()
            .flat_map(|(path, item)| expand_path(path, item, streams))
            .collect();
    }
    if let Some(schemas) = object_at(&mut document, "/components/schemas") {
        let generic = ["Key", "Data", "Change", "History"]
            .map(|name| schemas.shift_remove(name).unwrap_or_default());
        let [_, data, change, history] = generic;
        schemas.extend(
            streams
                .iter()
                .flat_map(|stream| stream_schemas(stream, &data, &change, &history)),
        );
    }
    add_apps(&mut document, mounts);
    document
}

/// Removes what only the demo answers.
fn remove_demo(document: &mut Value) {
    let (folder, schema) = DEMO;
    if let Some(paths) = object_at(document, "/paths") {
        paths.retain(|path, _| !path.starts_with(folder));
    }
    if let Some(schemas) = object_at(document, "/components/schemas") {
        schemas.retain(|name, _| !name.starts_with(schema));
    }
    if let Some(tags) = document.get_mut("tags").and_then(Value::as_array_mut) {
        tags.retain(|tag| tag["name"] != "demo");
    }
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
    let parts = stream.parts.iter();
    let key: String = parts.map(|part| format!("/{{{}}}", part.field)).collect();
    let schema = |of: &str| format!("#/components/schemas/{of}.{name}");
    let replacements = [
        ("{stream}", name.as_str()),
        ("{event}", &stream.event),
        ("{hook}", hook),
        ("/{key}", &key),
        ("#/components/schemas/Key", &schema("Key")),
        ("#/components/schemas/Data", &schema("Data")),
        ("#/components/schemas/Change", &schema("Change")),
        ("#/components/schemas/History", &schema("History")),
    ];
    let mut item = substitute(item, &replacements);
    if !stream.has_history {
        remove_history(&mut item, &schema("Data"));
    }
    specialise_parameters(&mut item, stream);
    if let Some(operations) = item.as_object_mut() {
        operations
            .values_mut()
            .for_each(|operation| specialise_parameters(operation, stream));
    }
    (
        substitute(&Value::from(path), &replacements)
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        item,
    )
}

/// Removes the history from the addresses of a stream that has none.
fn remove_history(item: &mut Value, data: &str) {
    let Some(operation) = object_at(item, "/get") else {
        return;
    };
    if let Some(parameters) = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut)
    {
        parameters.retain(|parameter| parameter["name"] != "history");
    }
    let content = item.pointer_mut("/get/responses/200/content");
    let contents = content.and_then(Value::as_object_mut).into_iter();
    for content in contents.flat_map(|content| content.values_mut()) {
        if !content["schema"]["anyOf"].is_null() {
            content["schema"] = json!({"$ref": data});
        }
        if let Some(events) = object_at(content, "/x-events") {
            events.shift_remove("history");
        }
    }
}

/// Removes the parameters that are now fixed, and replaces the key's by one for each part and for
/// each parameter of the stream.
fn specialise_parameters(of: &mut Value, stream: &StreamDocs) {
    let Some(parameters) = of.get_mut("parameters").and_then(Value::as_array_mut) else {
        return;
    };
    let specialise = |parameter: Value| match parameter["name"].as_str() {
        Some("stream" | "hook") => Vec::new(),
        Some("key") => {
            let part = |part: &PartDocs| {
                let mut parameter = parameter.clone();
                parameter["name"] = part.field.as_str().into();
                parameter["schema"] = part.reference();
                parameter
            };
            let params = stream.params.iter().map(query_parameter);
            stream.parts.iter().map(part).chain(params).collect()
        }
        _ => vec![parameter],
    };
    let generic = std::mem::take(parameters);
    *parameters = generic.into_iter().flat_map(specialise).collect();
    if parameters.is_empty() {
        of.as_object_mut().map(|of| of.shift_remove("parameters"));
    }
}

fn stream_schemas(
    stream: &StreamDocs,
    data: &Value,
    change: &Value,
    history: &Value,
) -> Vec<(String, Value)> {
    let name = &stream.name;
    let row = stream.data_schema("#/components/schemas/Timestamp");
    let mut example = stream.example_key();
    example.insert("action".into(), "created".into());
    let hint = json!({
        "type": "object", "anyOf": hook_keys(&stream.parts),
        "properties": {"action": change["properties"]["action"]},
        "examples": [example],
    });
    let parts = stream.parts.iter();
    parts
        .map(|part| (part.schema.clone(), part.key_schema()))
        .chain([
            (format!("Data.{name}"), with_description_of(row, data)),
            (format!("Change.{name}"), with_description_of(hint, change)),
        ])
        .chain(stream.has_history.then(|| {
            let rows = with_description_of(stream.history_schema(), history);
            (format!("History.{name}"), rows)
        }))
        .collect()
}

/// Returns the schemas of the ways in which a hook's body may name a key: by the fields of its
/// parts, or as a whole.
fn hook_keys(parts: &[PartDocs]) -> Vec<Value> {
    let fields: Vec<_> = parts.iter().map(|part| part.field.as_str()).collect();
    let properties: Map<_, _> = parts
        .iter()
        .map(|part| (part.field.clone(), part.hook_key_schema()))
        .collect();
    let whole = match parts {
        [] => json!({"const": ""}),
        [part] => part.hook_key_schema(),
        _ => {
            let further = parts.len() - 1;
            json!({"type": "string", "pattern": format!("^[^/]+(/[^/]+){{{further}}}$")})
        }
    };
    let whole = json!({"required": ["key"], "properties": {"key": whole}});
    let is_named = |field: &str| json!({"required": [field]});
    // `key` counts only where the fields of the parts are missing.
    let generic = match fields.as_slice() {
        ["key"] => whole,
        [] => return vec![json!({"not": is_named("key")}), whole],
        [field] => json!({"allOf": [whole, {"not": is_named(field)}]}),
        fields => {
            let named: Vec<_> = fields.iter().map(|field| is_named(field)).collect();
            json!({"allOf": [whole, {"not": {"anyOf": named}}]})
        }
    };
    vec![
        json!({"required": fields, "properties": properties}),
        generic,
    ]
}

/// Copies the description of another schema.
fn with_description_of(mut schema: Value, like: &Value) -> Value {
    schema["description"] = like["description"].clone();
    schema
}
