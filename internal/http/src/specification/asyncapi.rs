//! `asyncapi.json`, filled in: each stream's messages and schemas replace the generic ones.

use serde_json::{Value, json};

use crate::specification::placeholders::{load_document, object_at, substitute};
use crate::specification::stream_docs::StreamDocs;
use latido_stream::SYSTEM_STREAM_NAME;

const BASE: &str = include_str!("asyncapi.json");

/// The generic message, and the channel used in the examples.
const SNAPSHOT: &str = "snapshot";

const EXAMPLE_CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

pub(super) fn render(streams: &[StreamDocs]) -> Value {
    let mut document = load_document(BASE);
    if let Some(first) = streams.first() {
        document = substitute(&document, &[(EXAMPLE_CHANNEL, &first.example_channel())]);
    }
    expand_message_references(&mut document, streams);
    if let Some(messages) = object_at(&mut document, "/components/messages") {
        let template = messages.shift_remove(SNAPSHOT).unwrap_or_default();
        messages.extend(
            streams
                .iter()
                .map(|stream| (message_name(stream), snapshot_message(stream, &template))),
        );
    }
    if let Some(messages) = object_at(&mut document, "/channels/socket/messages") {
        messages.shift_remove(SNAPSHOT);
        let reference =
            |stream| json!({"$ref": format!("#/components/messages/{}", message_name(stream))});
        messages.extend(
            streams
                .iter()
                .map(|stream| (message_name(stream), reference(stream))),
        );
    }
    if let Some(schemas) = object_at(&mut document, "/components/schemas") {
        let generic = schemas.shift_remove("Data").unwrap_or_default();
        for stream in streams {
            let mut data = stream.data_schema("#/components/schemas/Timestamp");
            data["description"] = generic["description"].clone();
            let parts = stream.parts.iter();
            schemas.extend(parts.map(|part| (part.schema.clone(), part.key_schema())));
            schemas.insert(format!("Data.{}", stream.name), data);
            if stream.has_history {
                schemas.insert(history_name(stream), stream.history_schema());
            }
        }
        schemas["Channel"]["pattern"] = channel_pattern(streams).into();
    }
    describe_histories(&mut document, streams);
    document
}

/// Replaces the rows of any history by those of the streams that have one.
fn describe_histories(document: &mut Value, streams: &[StreamDocs]) {
    let with_history: Vec<_> = streams.iter().filter(|stream| stream.has_history).collect();
    let (Some(first), Some(message)) = (
        with_history.first(),
        object_at(document, "/components/messages/history"),
    ) else {
        return;
    };
    let reference = |stream: &&StreamDocs| json!({"$ref": format!("#/components/schemas/{}", history_name(stream))});
    let rows = with_history.iter().map(reference);
    let kinds: Vec<_> = rows.chain([json!({"type": "null"})]).collect();
    let example = json!({"type": "history", "channel": first.example_channel(), "data": []});
    message["payload"]["properties"]["data"] = json!({"anyOf": kinds});
    message["examples"] = json!([{"payload": example}]);
}

fn history_name(stream: &StreamDocs) -> String {
    format!("History.{}", stream.name)
}

/// Returns the pattern of channel names. The names of streams consist of letters, digits, `_` and
/// `-`, none of which is special in a pattern.
fn channel_pattern(streams: &[StreamDocs]) -> String {
    let names = |has_key: bool| {
        let streams = streams.iter();
        let named = streams.filter(move |stream| stream.parts.is_empty() != has_key);
        named.map(|stream| stream.name.as_str())
    };
    let with_key: Vec<_> = names(true).chain([SYSTEM_STREAM_NAME]).collect();
    let with_key = format!("({}):.+", with_key.join("|"));
    let without_key: Vec<_> = names(false).collect();
    match without_key.is_empty() {
        true => format!("^{with_key}$"),
        false => format!(r"^({with_key}|({})(\?.*)?)$", without_key.join("|")),
    }
}

fn message_name(stream: &StreamDocs) -> String {
    format!("{SNAPSHOT}.{}", stream.name)
}

/// Replaces each reference to the generic message in a list with one reference per stream.
fn expand_message_references(value: &mut Value, streams: &[StreamDocs]) {
    const GENERIC_REFERENCE: &str = "#/channels/socket/messages/snapshot";
    match value {
        Value::Array(items) => {
            if let Some(at) = items
                .iter()
                .position(|item| item["$ref"] == GENERIC_REFERENCE)
            {
                items.splice(
                    at..=at,
                    streams.iter().map(|stream| json!({"$ref": format!("#/channels/socket/messages/{}", message_name(stream))})),
                );
            }
            items
                .iter_mut()
                .for_each(|item| expand_message_references(item, streams));
        }
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|field| expand_message_references(field, streams)),
        _ => {}
    }
}

fn snapshot_message(stream: &StreamDocs, template: &Value) -> Value {
    let data = format!("#/components/schemas/Data.{}", stream.name);
    let mut message = substitute(
        template,
        &[
            ("{event}", &stream.event),
            ("#/components/schemas/Data", &data),
        ],
    );
    message["name"] = stream.event.as_str().into();
    let example = json!({
        "type": stream.event, "data": stream.example_data(), "channel": stream.example_channel(), "v": 1_763_780_000_000_000_i64,
    });
    message["examples"] = json!([{"payload": example}]);
    message
}
