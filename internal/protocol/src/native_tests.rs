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
fn top_level_fields_take_precedence() {
    for (text, channel, wants_history) in [
        (
            r#"{"type":"subscribe","channel":"a:1","data":{"channel":"b:2"}}"#,
            "a:1",
            false,
        ),
        (
            r#"{"type":"subscribe","data":{"channel":"b:2"}}"#,
            "b:2",
            false,
        ),
        (
            r#"{"type":"subscribe","data":{"channel":"b:2","history":true}}"#,
            "b:2",
            true,
        ),
        (
            r#"{"type":"subscribe","history":null,"data":{"channel":"b:2","history":true}}"#,
            "b:2",
            true,
        ),
        (
            r#"{"type":"subscribe","history":false,"channel":"a:1","data":{"history":true}}"#,
            "a:1",
            false,
        ),
    ] {
        let expected = ClientCommand::Subscribe {
            channel: channel.to_owned(),
            wants_history,
        };
        assert_eq!(decode(text), Ok(expected), "{text}");
    }
    assert_eq!(decode(r#"{"type":"ping"}"#), Ok(ClientCommand::Ping));
}

#[test]
fn golden_history() {
    assert_eq!(
        encode_history("a:b", r#"{"n":1},{"n":2}"#, false).payload(),
        r#"{"type":"history","channel":"a:b","data":[{"n":1},{"n":2}]}"#
    );
    assert_eq!(
        encode_history("a:\"b", "", true).payload(),
        r#"{"type":"history","channel":"a:\"b","truncated":true,"data":[]}"#
    );
    assert_eq!(
        encode_history_error("a:b", ErrorCode::NoHistory, "no").payload(),
        r#"{"type":"history","channel":"a:b","data":null,"error":{"code":"no_history","message":"no"}}"#
    );
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
        r#"{"type":"subscribe","channel":"a:1","history":1}"#,
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
