use proptest::prelude::*;

use super::*;

fn id(value: &Value) -> WireId {
    WireId::parse(value).unwrap()
}

fn auth(text: &str) -> AuthFrame {
    match decode(text) {
        WorkspaceFrame::Auth(auth) => auth,
        other => panic!("{other:?}"),
    }
}

#[test]
fn golden_auth_frame() {
    let frame = auth(r#"{"type":"auth","workspace_id":123,"user_id":456}"#);
    assert_eq!(
        frame,
        AuthFrame {
            workspace: Some(id(&json!(123))),
            user: ClaimedUser::Id(id(&json!(456))),
            token: None
        }
    );
    let frame = auth(
        r#"{"type":"auth","workspace_id":"507f1f77bcf86cd799439011","user_id":"507f191e810c19729de860ea","token":"a.b.c"}"#,
    );
    assert_eq!(frame.token.as_deref(), Some("a.b.c"));
    assert_eq!(&*frame.workspace.unwrap().text, "507f1f77bcf86cd799439011");
}

#[test]
fn ids_compare_as_text_and_keep_their_json_form() {
    assert_eq!(id(&json!(123)).text, id(&json!("123")).text);
    assert_eq!(
        (&*id(&json!(123)).json, &*id(&json!("123")).json),
        ("123", r#""123""#)
    );
    for bad in [
        json!(""),
        json!(1.5),
        json!(null),
        json!(true),
        json!([1]),
        json!({}),
        json!("a\nb"),
        json!("x".repeat(129)),
    ] {
        assert_eq!(WireId::parse(&bad), None, "{bad}");
    }
}

#[test]
fn invalid_ids_differ_from_missing_ids() {
    assert_eq!(auth(r#"{"type":"auth"}"#), AuthFrame::default());
    assert_eq!(
        auth(r#"{"type":"auth","user_id":{}}"#).user,
        ClaimedUser::Invalid
    );
    for odd in [
        r#"{"type":"auth","workspace_id":1,"token":7}"#,
        r#"{"type":"auth","workspace_id":1,"workspace_id":2}"#,
    ] {
        assert_eq!(auth(odd), AuthFrame::default(), "{odd}");
    }
}

#[test]
fn native_and_workspace_frames_are_distinguished() {
    for native in [
        r#"{"type":"subscribe","data":{"channel":"estadisticas:1"}}"#,
        r#"{"type":"unsubscribe","channel":"estadisticas:1"}"#,
        r#"{"type":"auth","data":{"token":"a.b.c"}}"#,
    ] {
        assert_eq!(decode(native), WorkspaceFrame::Native, "{native}");
    }
    assert_eq!(
        decode(r#" {"type":"ping","extra":1}"#),
        WorkspaceFrame::Ping
    );
    for unknown in [
        "{}",
        r#"{"type":"hello"}"#,
        r#"{"type":7}"#,
        r#"{"type":null}"#,
    ] {
        assert_eq!(decode(unknown), WorkspaceFrame::Unknown, "{unknown}");
    }
    for invalid in [
        "",
        "ping",
        "[]",
        "1",
        r#"["auth"]"#,
        r#"{"type":"ping""#,
        "null",
    ] {
        assert_eq!(decode(invalid), WorkspaceFrame::Invalid, "{invalid}");
    }
}

#[test]
fn golden_frames() {
    let body = r#"{"type":"create","entity":"Appointment","data":{"_id":"65", "status": "confirmată","n":1.50}}"#;
    assert_eq!(
        data_change_frame(body.as_bytes()).unwrap(),
        r#"{"type":"data_change","entity":"Appointment","action":"create","data":{"_id":"65", "status": "confirmată","n":1.50}}"#
    );
    let deleted = r#"{"type":"delete","entity":"Client","data":{"_id":"65"}}"#;
    assert_eq!(
        data_change_frame(deleted.as_bytes()).unwrap(),
        r#"{"type":"data_change","entity":"Client","action":"delete","data":{"_id":"65"}}"#
    );
    for (message_json, kind) in [
        (r#""Bună""#, MESSAGE_TYPES[1]),
        (r#"{"a": [1, 2e0]}"#, MESSAGE_TYPES[2]),
        ("null", MESSAGE_TYPES[1]),
        ("0.10", MESSAGE_TYPES[2]),
    ] {
        let frame =
            message_frame(kind, format!(r#"{{"message":{message_json}}}"#).as_bytes()).unwrap();
        assert_eq!(
            frame,
            format!(r#"{{"type":"{kind}","message":{message_json}}}"#)
        );
    }
}

#[test]
fn golden_workspace_replies() {
    assert_eq!(AUTH_SUCCESS, json!({"type": "auth_success"}).to_string());
    assert_eq!(PONG, json!({"type": "pong"}).to_string());
    for (frame, text) in [
        (INVALID_JSON, "Invalid JSON format"),
        (UNKNOWN_TYPE, "Unknown message type"),
        (UNAUTHORIZED, "Unauthorized"),
    ] {
        assert_eq!(frame, json!({"type": "error", "message": text}).to_string());
    }
}

#[test]
fn invalid_bodies_have_different_errors() {
    for text in ["", "{", "message=1", "\u{1}", r#"{"message":}"#] {
        assert_eq!(
            message_frame("broadcast", text.as_bytes()),
            Err(PublishBodyError::InvalidJson),
            "{text}"
        );
    }
    assert_eq!(
        message_frame("broadcast", b"{\"message\":\"\xff\"}"),
        Err(PublishBodyError::InvalidJson)
    );
    for text in ["[]", "[1]", "{}", r#"{"text":1}"#, "null"] {
        assert!(
            matches!(
                message_frame("broadcast", text.as_bytes()),
                Err(PublishBodyError::InvalidShape(_))
            ),
            "{text}"
        );
    }
    for text in [
        r#"{"type":"create"}"#,
        r#"{"type":"","entity":"a"}"#,
        r#"{"type":1,"entity":"a"}"#,
        r#"["create","Client",{}]"#,
    ] {
        assert!(
            matches!(
                data_change_frame(text.as_bytes()),
                Err(PublishBodyError::InvalidShape(_))
            ),
            "{text}"
        );
    }
    assert!(
        data_change_frame(br#"{"type":"update","entity":"Staff"}"#)
            .unwrap()
            .ends_with(r#""data":null}"#)
    );
}

proptest! {
    #[test]
    fn decoding_a_workspace_message_never_panics(text in ".*") {
        decode(&text);
        let _ = data_change_frame(text.as_bytes());
        let _ = message_frame("broadcast", text.as_bytes());
    }

    #[test]
    fn names_stay_json(entity in ".{1,16}", action in "[^\u{0}]{1,16}") {
        let body = json!({"type": action, "entity": entity, "data": {"k": entity}}).to_string();
        let frame: Value = serde_json::from_str(&data_change_frame(body.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(&frame["entity"], &json!(entity));
        prop_assert_eq!(&frame["action"], &json!(action));
        prop_assert_eq!(&frame["data"]["k"], &json!(entity));
    }
}
