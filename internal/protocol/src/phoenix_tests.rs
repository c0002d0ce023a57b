use proptest::prelude::*;
use serde_json::json;

use super::*;

fn push(frame: &str) -> Push {
    decode(SerializerVersion::V2, frame).unwrap()
}

#[test]
fn golden_frames_of_both_versions() {
    let join = push(r#"["1","1","user:U","phx_join",{}]"#);
    let expected = r#"["1","1","user:U","phx_reply",{"status":"ok","response":{"user_id":"U"}}]"#;
    assert_eq!(
        encode_reply(
            SerializerVersion::V2,
            &join,
            ReplyStatus::Ok,
            r#"{"user_id":"U"}"#
        ),
        expected
    );
    let heartbeat = push(r#"[null,"9","phoenix","heartbeat",{}]"#);
    let expected = r#"[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]"#;
    assert_eq!(
        encode_reply(SerializerVersion::V2, &heartbeat, ReplyStatus::Ok, "{}"),
        expected
    );
    assert_eq!(
        encode_broadcast(SerializerVersion::V2, "c:1", "typing", "{}"),
        r#"[null,null,"c:1","typing",{}]"#
    );
    let closed = encode_message(
        SerializerVersion::V2,
        join.join_ref.as_ref(),
        join.join_ref.as_ref(),
        "user:U",
        "phx_close",
        "{}",
    );
    assert_eq!(closed, r#"["1","1","user:U","phx_close",{}]"#);
    let old = decode(
        SerializerVersion::V1,
        r#"{"topic":"user:U","event":"phx_join","payload":{},"ref":"1"}"#,
    )
    .unwrap();
    let expected = r#"{"topic":"user:U","event":"phx_reply","payload":{"status":"error","response":{"reason":"x"}},"ref":"1"}"#;
    assert_eq!(
        encode_reply(
            SerializerVersion::V1,
            &old,
            ReplyStatus::Error,
            r#"{"reason":"x"}"#
        ),
        expected
    );
    assert_eq!(
        encode_broadcast(SerializerVersion::V1, "c:1", "e", "{}"),
        r#"{"topic":"c:1","event":"e","payload":{},"ref":null}"#
    );
}

#[test]
fn references_are_echoed_unchanged() {
    let numbered = push(r#"[3, 17 ,"t","e",{}]"#);
    assert_eq!(
        encode_reply(SerializerVersion::V2, &numbered, ReplyStatus::Ok, "{}"),
        r#"[3,17,"t","phx_reply",{"status":"ok","response":{}}]"#
    );
    let escaped = push(r#"[null,"a\"b","t","e",null]"#);
    assert!(
        encode_reply(SerializerVersion::V2, &escaped, ReplyStatus::Ok, "{}")
            .starts_with(r#"[null,"a\"b","t""#)
    );
    assert_eq!(escaped.payload, PushPayload::Json(json!(null)));
}

#[test]
fn invalid_frames_are_rejected() {
    let long = format!(r#"["1","1","{}","e",{{}}]"#, "x".repeat(256));
    let deep = format!(r#"["1","1","t","e",{}]"#, "[".repeat(4000));
    for frame in [
        "",
        "{}",
        "[]",
        "null",
        "7",
        r#"["1","1","t","e"]"#,
        r#"["1","1","t","e",{},1]"#,
        r#"["1","1",7,"e",{}]"#,
        r#"[{},"1","t","e",{}]"#,
        r#"[true,"1","t","e",{}]"#,
        r#"["1",-1,"t","e",{}]"#,
        &long,
        &deep,
    ] {
        assert!(decode(SerializerVersion::V2, frame).is_err(), "{frame:.80}");
    }
    for frame in [
        r#"["1","1","t","e",{}]"#,
        "{}",
        r#"{"topic":"t","event":"e"}"#,
        r#"{"topic":1,"event":"e","payload":{}}"#,
    ] {
        assert!(decode(SerializerVersion::V1, frame).is_err(), "{frame}");
    }
}

#[test]
fn serializer_versions_are_parsed() {
    let all = [
        None,
        Some("1.0.0"),
        Some("2.0.0"),
        Some("2"),
        Some("3.0.0"),
        Some(""),
    ];
    assert_eq!(
        all.map(SerializerVersion::parse),
        [
            Some(SerializerVersion::V1),
            Some(SerializerVersion::V1),
            Some(SerializerVersion::V2),
            Some(SerializerVersion::V2),
            None,
            None
        ]
    );
}

#[test]
fn binary_push_is_decoded_as_documented() {
    let frame = b"\x00\x01\x02\x03\x04123t:aping\xff\x00";
    let push = decode_binary(frame).unwrap();
    let refs = (
        push.join_ref.as_ref().unwrap().json(),
        push.reference.as_ref().unwrap().json(),
    );
    assert_eq!(
        (refs, &*push.topic, &*push.event),
        ((r#""1""#, r#""23""#), "t:a", "ping")
    );
    assert_eq!(push.payload, PushPayload::Binary([0xff, 0].into()));
    for cut in 0..frame.len() - 2 {
        assert!(decode_binary(&frame[..cut]).is_err(), "{cut}");
    }
    for kind in [1, 2, 255] {
        assert!(
            decode_binary(&[kind, 0, 0, 0, 0]).is_err(),
            "a kind that only the server sends"
        );
    }
    assert!(decode_binary(b"\x00\x00\x00\x01\x00\xff").is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(text in ".*", bytes: Vec<u8>) {
        let _ = (decode(SerializerVersion::V1, &text), decode(SerializerVersion::V2, &text), decode_binary(&bytes));
    }

    #[test]
    fn push_survives_decoding_and_encoding(
        join_ref: Option<u32>, reference in "\\PC{0,40}", topic in ".{0,60}", event in ".{0,60}", text in ".*", number: i64,
    ) {
        let payload = json!({"text": text, "number": number});
        let frame = json!([join_ref, reference, topic, event, payload]).to_string();
        let object = json!({"join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload}).to_string();
        let push = decode(SerializerVersion::V2, &frame).unwrap();
        prop_assert_eq!(&push, &decode(SerializerVersion::V1, &object).unwrap());
        prop_assert_eq!(&push.payload, &PushPayload::Json(payload.clone()));
        let answer: Value = serde_json::from_str(&encode_reply(SerializerVersion::V2, &push, ReplyStatus::Ok, &payload.to_string())).unwrap();
        prop_assert_eq!(answer, json!([join_ref, reference, topic, "phx_reply", {"status": "ok", "response": payload}]));
        let broadcasted: Value = serde_json::from_str(&encode_broadcast(SerializerVersion::V1, &topic, &event, "{}")).unwrap();
        prop_assert_eq!(broadcasted, json!({"topic": topic, "event": event, "payload": {}, "ref": null}));
    }
}
