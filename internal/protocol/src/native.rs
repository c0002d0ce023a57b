//! The native protocol: one JSON object per text frame (the wire contract of the first dashboards).

use serde::Deserialize;
use serde_json::json;

use crate::{ClientCommand, ErrorCode, Frame, ServerReply, Staleness};
use latido_base::ident::Channel;
use latido_stream::{Snapshot, Stream};

/// The reason why a client's message is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NativeDecodeError {
    /// The message is malformed; the text states the expected form.
    #[error("{0}")]
    Malformed(&'static str),
    /// The message has a `type` that does not exist.
    #[error("unknown type; expected subscribe, unsubscribe, ping or auth")]
    UnknownType,
}

impl From<&NativeDecodeError> for ErrorCode {
    fn from(error: &NativeDecodeError) -> Self {
        match error {
            NativeDecodeError::Malformed(_) => Self::BadMessage,
            NativeDecodeError::UnknownType => Self::UnknownType,
        }
    }
}

#[derive(Deserialize)]
struct NativeMessage<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    #[serde(default)]
    channel: Option<serde_json::Value>,
    #[serde(default)]
    history: Option<serde_json::Value>,
    #[serde(default)]
    data: Option<serde_json::Value>,
}

/// Decodes one client message.
///
/// # Errors
/// Returns an error if the message is malformed or its type is unknown.
pub fn decode(text: &str) -> Result<ClientCommand, NativeDecodeError> {
    let bad = NativeDecodeError::Malformed("expected a JSON object with a string \"type\"");
    // Serde would also accept an array for a struct, but the contract requires an object.
    if !text.trim_start().starts_with('{') {
        return Err(bad);
    }
    let incoming: NativeMessage<'_> = serde_json::from_str(text).map_err(|_| bad)?;
    match &*incoming.kind {
        "subscribe" => Ok(ClientCommand::Subscribe {
            channel: channel(&incoming)?,
            wants_history: wants_history(&incoming)?,
        }),
        "unsubscribe" => Ok(ClientCommand::Unsubscribe {
            channel: channel(&incoming)?,
        }),
        "ping" => Ok(ClientCommand::Ping),
        "auth" => {
            let token = incoming
                .data
                .as_ref()
                .and_then(|d| d.get("token"))
                .and_then(|t| t.as_str());
            let token = token.ok_or(NativeDecodeError::Malformed(
                "expected \"data\":{\"token\":\"…\"}",
            ))?;
            Ok(ClientCommand::Auth {
                token: token.to_owned(),
            })
        }
        _ => Err(NativeDecodeError::UnknownType),
    }
}

/// Returns the channel's name from the top level, which takes precedence, or from `data`.
fn channel(incoming: &NativeMessage<'_>) -> Result<String, NativeDecodeError> {
    let name = field(incoming.channel.as_ref(), incoming, "channel");
    let name = name.and_then(|n| n.as_str());
    name.map(ToOwned::to_owned)
        .ok_or(NativeDecodeError::Malformed(
            "expected \"data\":{\"channel\":\"stream:key\"}",
        ))
}

/// Returns whether the client asks for the channel's history.
fn wants_history(incoming: &NativeMessage<'_>) -> Result<bool, NativeDecodeError> {
    let asked = field(incoming.history.as_ref(), incoming, "history");
    match asked.filter(|value| !value.is_null()) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or(NativeDecodeError::Malformed(
            "expected \"history\" to be true or false",
        )),
    }
}

/// Returns a field of the top level, unless it is null, or else the one in `data`.
fn field<'a>(
    top: Option<&'a serde_json::Value>,
    incoming: &'a NativeMessage<'_>,
    name: &str,
) -> Option<&'a serde_json::Value> {
    let nested = || incoming.data.as_ref().and_then(|data| data.get(name));
    top.filter(|value| !value.is_null()).or_else(nested)
}

/// Encodes a reply as JSON text.
pub fn encode_reply(reply: &ServerReply) -> String {
    let value = match reply {
        ServerReply::Subscribed(channel) => {
            json!({"type": "subscribed", "data": {"channel": channel}})
        }
        ServerReply::Unsubscribed(channel) => {
            json!({"type": "unsubscribed", "data": {"channel": channel}})
        }
        ServerReply::Pong => json!({"type": "pong"}),
        ServerReply::Authenticated { expires_at } => {
            json!({"type": "authenticated", "data": {"expires_at": expires_at}})
        }
        ServerReply::TokenExpiring { at } => json!({"type": "token_expiring", "data": {"at": at}}),
        ServerReply::Error {
            code,
            message,
            channel,
        } => {
            let mut data = json!({"code": code.as_str(), "message": message});
            if let Some(channel) = channel {
                data["channel"] = json!(channel);
            }
            json!({"type": "error", "data": data})
        }
    };
    value.to_string()
}

/// Encodes the staleness of all data as a status frame.
pub fn encode_staleness(staleness: Staleness) -> Frame {
    Frame::text(&json!({"type": "status", "data": staleness_data(staleness)}).to_string())
}

/// Encodes the staleness of the data of the channel with this name as a status frame.
pub fn encode_channel_staleness(channel: &str, staleness: Staleness) -> Frame {
    let data = staleness_data(staleness);
    let status = json!({"type": "status", "channel": channel, "data": data});
    Frame::text(&status.to_string())
}

fn staleness_data(staleness: Staleness) -> serde_json::Value {
    match staleness {
        Staleness::Fresh => json!({"stale": false}),
        Staleness::StaleSince(since) => json!({"stale": true, "since": since}),
    }
}

/// The message of the error for a channel that the client may not read.
pub const FORBIDDEN_MESSAGE: &str = "this token may not read this channel";

/// The message of the error for a channel that cannot be read.
pub const UNREADABLE_MESSAGE: &str =
    "this channel cannot be read now; its numbers follow once it can";

/// Encodes the error that a channel cannot be read now, for all clients that subscribed under the
/// channel's name.
pub fn encode_unreadable(channel: &Channel) -> Frame {
    let reply = ServerReply::Error {
        code: ErrorCode::Unavailable,
        message: UNREADABLE_MESSAGE.to_owned(),
        channel: Some(channel.name.to_string()),
    };
    Frame::text(&encode_reply(&reply))
}

/// The message of the error for a channel whose stream has no history.
pub const NO_HISTORY_MESSAGE: &str = "this stream has no history";

/// The message of the error for a history that cannot be read now.
pub const HISTORY_UNAVAILABLE_MESSAGE: &str =
    "the history cannot be read now; subscribe again with \"history\" later";

/// Encodes the history of a channel for all clients that subscribed under this name: `rows` are the
/// JSON objects of the rows, separated by commas.
pub fn encode_history(channel: &str, rows: &str, is_truncated: bool) -> Frame {
    let truncated = if is_truncated {
        r#","truncated":true"#
    } else {
        ""
    };
    Frame::text(&format!(
        r#"{{"type":"history","channel":{}{truncated},"data":[{rows}]}}"#,
        quoted(channel)
    ))
}

/// Encodes, in the place of the history of a channel, the reason why the client does not get it.
pub fn encode_history_error(channel: &str, code: ErrorCode, message: &str) -> Frame {
    let error = json!({"code": code.as_str(), "message": message});
    let frame = json!({"type": "history", "channel": channel, "data": null, "error": error});
    Frame::text(&frame.to_string())
}

/// Encodes the `data` of a snapshot: the parts of the key as the client wrote them, the row's
/// columns, and the time.
pub fn encode_data(stream: &Stream, channel: &Channel, snapshot: &Snapshot) -> String {
    let columns = snapshot.columns.trim();
    let columns = columns
        .strip_prefix('{')
        .and_then(|c| c.strip_suffix('}'))
        .unwrap_or_default()
        .trim();
    let parts = stream.parts_as_written(channel);
    let mut data = String::with_capacity(columns.len() + 64);
    data.push('{');
    for (field, part) in stream.key_fields.iter().zip(&parts) {
        for (text, end) in [(&**field, ':'), (&**part, ',')] {
            data.push_str(&quoted(text));
            data.push(end);
        }
    }
    let comma = if columns.is_empty() { "" } else { "," };
    data.push_str(&format!(
        r#"{columns}{comma}"timestamp":{}}}"#,
        snapshot.timestamp_s
    ));
    data
}

/// Encodes a snapshot for all clients that subscribed under the channel's name.
pub fn encode_snapshot(stream: &Stream, channel: &Channel, snapshot: &Snapshot) -> Frame {
    let text = format!(
        r#"{{"type":{},"data":{},"channel":{},"v":{}}}"#,
        quoted(&stream.event),
        encode_data(stream, channel, snapshot),
        quoted(&channel.name),
        snapshot.version.0
    );
    Frame::text(&text)
}

fn quoted(text: &str) -> String {
    // Serializing a text cannot fail, and does not copy it into a value first.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
