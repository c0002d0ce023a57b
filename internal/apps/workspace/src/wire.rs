//! The frames and bodies of the app's contract. Pure.
//!
//! The publisher's `data` and `message` members are copied byte for byte and never parsed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use latido_app_kit::id_text;

/// The published message types, as metrics label them.
pub(super) const MESSAGE_TYPES: [&str; 3] = ["data_change", "broadcast", "direct_message"];

/// The maximum length of an id, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The maximum length of an entity's or a change's name, in bytes.
const MAX_NAME_BYTES: usize = 64;

pub(super) const AUTH_SUCCESS: &str = r#"{"type":"auth_success"}"#;
pub(super) const PONG: &str = r#"{"type":"pong"}"#;
pub(super) const INVALID_JSON: &str = r#"{"type":"error","message":"Invalid JSON format"}"#;
pub(super) const UNKNOWN_TYPE: &str = r#"{"type":"error","message":"Unknown message type"}"#;
pub(super) const UNAUTHORIZED: &str = r#"{"type":"error","message":"Unauthorized"}"#;
pub(super) const UNAVAILABLE: &str = r#"{"type":"error","message":"Try again later"}"#;
pub(super) const TOO_MANY_MESSAGES: &str = r#"{"type":"error","message":"Too many messages"}"#;

/// The id of a workspace or a user, as text for comparison and as JSON for output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WireId {
    /// The digits of an integer, or the string itself.
    pub(super) text: Box<str>,
    /// The JSON form, in which an integer stays an integer.
    pub(super) json: Box<str>,
}

impl WireId {
    /// Reads an id: an integer, or a non-empty string within the length limit and without control
    /// characters.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let text = id_text(value)?;
        is_id(&text).then(|| Self {
            text: text.into(),
            json: value.to_string().into(),
        })
    }
}

/// Returns `true` if the text is a valid id.
pub(super) fn is_id(text: &str) -> bool {
    latido_app_kit::is_id(text, MAX_ID_BYTES)
}

/// A parsed message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WorkspaceFrame {
    /// A workspace `auth` frame with the claimed ids.
    Auth(AuthFrame),
    /// A frame of the native protocol: `subscribe`, `unsubscribe`, or `auth` with a renewed token.
    Native,
    Ping,
    /// A JSON object with an unknown type, or with none.
    Unknown,
    /// Text that is not a JSON object.
    Invalid,
}

/// The user's id in an `auth` frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum ClaimedUser {
    /// The frame has no such member.
    #[default]
    Missing,
    /// The member is no valid id.
    Invalid,
    /// A valid id.
    Id(WireId),
}

impl ClaimedUser {
    pub(super) fn parse(member: Option<&Value>) -> Self {
        match member.map(WireId::parse) {
            None => Self::Missing,
            Some(None) => Self::Invalid,
            Some(Some(id)) => Self::Id(id),
        }
    }
}

/// An `auth` frame. A field is `None` if the member is missing or is not a valid id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AuthFrame {
    pub(super) workspace: Option<WireId>,
    pub(super) user: ClaimedUser,
    pub(super) token: Option<String>,
}

#[derive(Deserialize)]
struct RawWorkspaceFrame<'a> {
    #[serde(rename = "type", default)]
    kind: Value,
    #[serde(default)]
    workspace_id: Option<Value>,
    #[serde(default)]
    user_id: Option<Value>,
    #[serde(default)]
    token: Option<Cow<'a, str>>,
    #[serde(default)]
    data: Option<Value>,
}

/// Decodes a message of a client.
pub(super) fn decode(text: &str) -> WorkspaceFrame {
    // serde would accept a JSON array as a struct.
    if !text.trim_start().starts_with('{') {
        return WorkspaceFrame::Invalid;
    }
    let Ok(frame) = serde_json::from_str::<RawWorkspaceFrame<'_>>(text) else {
        // For example an object whose token is not a string: valid JSON, but not a valid frame.
        return if serde_json::from_str::<Value>(text).is_ok() {
            classify_malformed(text)
        } else {
            WorkspaceFrame::Invalid
        };
    };
    let is_native = || {
        frame.workspace_id.is_none()
            && frame
                .data
                .as_ref()
                .is_some_and(|data| data["token"].is_string())
    };
    match frame.kind.as_str() {
        Some("auth") if is_native() => WorkspaceFrame::Native,
        Some("auth") => WorkspaceFrame::Auth(AuthFrame {
            workspace: frame.workspace_id.as_ref().and_then(WireId::parse),
            user: ClaimedUser::parse(frame.user_id.as_ref()),
            token: frame.token.map(Cow::into_owned),
        }),
        Some("subscribe" | "unsubscribe") => WorkspaceFrame::Native,
        Some("ping") => WorkspaceFrame::Ping,
        _ => WorkspaceFrame::Unknown,
    }
}

/// Classifies an object in which a member has a wrong type or appears twice. An `auth` frame of
/// that kind authenticates nobody.
fn classify_malformed(text: &str) -> WorkspaceFrame {
    match serde_json::from_str::<Value>(text)
        .ok()
        .as_ref()
        .and_then(|value| value["type"].as_str())
    {
        Some("auth") => WorkspaceFrame::Auth(AuthFrame::default()),
        _ => WorkspaceFrame::Unknown,
    }
}

/// The request body of `notify`.
#[derive(Deserialize)]
pub(super) struct NotifyBody<'a> {
    #[serde(rename = "type")]
    action: Cow<'a, str>,
    entity: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The request body of `broadcast` and `message`.
#[derive(Deserialize)]
pub(super) struct MessageBody<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

/// The reason for rejecting a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishBodyError {
    InvalidJson,
    InvalidShape(&'static str),
}

/// Builds the `data_change` frame of a `notify` request.
///
/// # Errors
/// Returns an error if the body is not valid JSON or has another shape.
pub(super) fn data_change_frame(body: &[u8]) -> Result<String, PublishBodyError> {
    let expected = PublishBodyError::InvalidShape(
        r#"expected {"type":"create|update|delete","entity":"…","data":{…}}"#,
    );
    let body: NotifyBody<'_> = parse_body(body, expected)?;
    let is_name = |name: &str| (1..=MAX_NAME_BYTES).contains(&name.len());
    if !is_name(&body.action) || !is_name(&body.entity) {
        return Err(expected);
    }
    let (entity, action) = (json!(body.entity), json!(body.action));
    let data = body.data.map_or("null", RawValue::get);
    Ok(format!(
        r#"{{"type":"data_change","entity":{entity},"action":{action},"data":{data}}}"#
    ))
}

/// Builds a frame of type `broadcast` or `direct_message`.
///
/// # Errors
/// Returns an error if the body is not valid JSON or has another shape.
pub(super) fn message_frame(kind: &'static str, body: &[u8]) -> Result<String, PublishBodyError> {
    let body: MessageBody<'_> = parse_body(
        body,
        PublishBodyError::InvalidShape(r#"expected {"message":…}"#),
    )?;
    Ok(format!(r#"{{"type":"{kind}","message":{}}}"#, body.message))
}

fn parse_body<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    expected: PublishBodyError,
) -> Result<T, PublishBodyError> {
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    match serde_json::from_slice(body) {
        Ok(read) if is_object => Ok(read),
        Err(error) if error.is_syntax() || error.is_eof() => Err(PublishBodyError::InvalidJson),
        _ => Err(expected),
    }
}

#[cfg(test)]
mod tests {
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
    fn golden_replies() {
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
        fn decoding_never_panics(text in ".*") {
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
}
