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
    let nested = || incoming.data.as_ref().and_then(|d| d.get("channel"));
    let name = incoming
        .channel
        .as_ref()
        .filter(|c| !c.is_null())
        .or_else(nested);
    let name = name.and_then(|n| n.as_str());
    name.map(ToOwned::to_owned)
        .ok_or(NativeDecodeError::Malformed(
            "expected \"data\":{\"channel\":\"stream:key\"}",
        ))
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
mod tests {

    use proptest::prelude::*;

    use super::*;
    use latido_base::ident::{Key, StreamId, Topic, Version};

    fn stream() -> Stream {
        Stream::test_stream("estadisticas", None)
    }

    fn snapshot(columns: &str) -> Snapshot {
        Snapshot {
            version: Version(7),
            timestamp_s: 1_234_567_890,
            columns: columns.into(),
        }
    }

    fn channel(name: &str) -> Channel {
        Channel {
            name: name.into(),
            topic: Topic {
                stream: StreamId(0),
                key: Key::from_canonical("123"),
            },
        }
    }

    #[test]
    fn golden_stats() {
        let columns =
            r#"{"citas_hoy":12,"total_citas":156,"citas_completadas":142,"citas_canceladas":8}"#;
        let frame = encode_snapshot(
            &stream(),
            &channel("estadisticas:negocio_123"),
            &snapshot(columns),
        );
        assert_eq!(
            frame.payload(),
            r#"{"type":"stats","data":{"negocio_id":"negocio_123","citas_hoy":12,"total_citas":156,"citas_completadas":142,"citas_canceladas":8,"timestamp":1234567890},"channel":"estadisticas:negocio_123","v":7}"#
        );
    }

    #[test]
    fn golden_native_replies() {
        let error = ServerReply::Error {
            code: ErrorCode::Forbidden,
            message: "no".into(),
            channel: Some("a:b".into()),
        };
        for (reply, text) in [
            (ServerReply::Pong, r#"{"type":"pong"}"#),
            (
                ServerReply::Subscribed("a:b".into()),
                r#"{"type":"subscribed","data":{"channel":"a:b"}}"#,
            ),
            (
                ServerReply::TokenExpiring { at: 5 },
                r#"{"type":"token_expiring","data":{"at":5}}"#,
            ),
            (
                error,
                r#"{"type":"error","data":{"code":"forbidden","message":"no","channel":"a:b"}}"#,
            ),
        ] {
            assert_eq!(encode_reply(&reply), text);
        }
        assert_eq!(
            encode_unreadable(&channel("a:b")).payload(),
            r#"{"type":"error","data":{"code":"unavailable","message":"this channel cannot be read now; its numbers follow once it can","channel":"a:b"}}"#
        );
        assert_eq!(
            encode_staleness(Staleness::StaleSince(9)).payload(),
            r#"{"type":"status","data":{"stale":true,"since":9}}"#
        );
    }

    #[test]
    fn top_level_channel_takes_precedence() {
        let both = r#"{"type":"subscribe","channel":"a:1","data":{"channel":"b:2"}}"#;
        assert_eq!(
            decode(both),
            Ok(ClientCommand::Subscribe {
                channel: "a:1".into()
            })
        );
        let nested = r#"{"type":"subscribe","data":{"channel":"b:2"}}"#;
        assert_eq!(
            decode(nested),
            Ok(ClientCommand::Subscribe {
                channel: "b:2".into()
            })
        );
        assert_eq!(decode(r#"{"type":"ping"}"#), Ok(ClientCommand::Ping));
    }

    #[test]
    fn invalid_messages_are_rejected() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{",
            "{}",
            r#"{"type":1}"#,
            r#"["subscribe"]"#,
        ] {
            assert!(
                matches!(decode(text), Err(NativeDecodeError::Malformed(_))),
                "{text}"
            );
        }
        for text in [
            r#"{"type":"subscribe"}"#,
            r#"{"type":"subscribe","channel":7}"#,
            r#"{"type":"auth","data":{}}"#,
        ] {
            assert!(
                matches!(decode(text), Err(NativeDecodeError::Malformed(_))),
                "{text}"
            );
        }
        assert_eq!(
            decode(r#"{"type":"publish"}"#),
            Err(NativeDecodeError::UnknownType)
        );
    }

    proptest! {
        #[test]
        fn decoding_a_command_never_panics(text in ".*") {
            let _ = decode(&text);
        }

        #[test]
        fn any_key_yields_valid_json(key in "[^\\p{Cc}]{1,40}", n in 0i64..1_000_000) {
            let name = format!("estadisticas:{key}");
            let frame = encode_snapshot(&stream(), &channel(&name), &snapshot(&format!(r#"{{"n":{n}}}"#)));
            let value: serde_json::Value = serde_json::from_str(frame.payload()).unwrap();
            prop_assert_eq!(&value["data"]["negocio_id"], &serde_json::Value::from(key));
            prop_assert_eq!(&value["data"]["n"], n);
            prop_assert_eq!(&value["channel"], &serde_json::Value::from(name));
        }
    }
}
