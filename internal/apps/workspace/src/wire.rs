//! The frames and bodies of the app's contract. Pure.
//!
//! The publisher's `data` and `message` members are copied byte for byte and never parsed.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use latido_app_kit::id_text;

/// The reasons for refusals, as metrics label them.
pub(super) const REFUSAL_REASONS: [&str; 8] = [
    "auth_deadline",
    "token",
    "membership",
    "anonymous",
    "overloaded",
    "key",
    "body",
    "message_rate",
];

/// The published message types, as metrics label them.
pub(super) const MESSAGE_TYPES: [&str; 3] = ["data_change", "broadcast", "direct_message"];

/// The maximum length of an id, in bytes.
const MAX_ID_BYTES: usize = 128;
/// The maximum length of an entity's or a change's name, in characters.
const MAX_NAME_CHARS: usize = 64;

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
    let is_name = |name: &str| (1..=MAX_NAME_CHARS).contains(&name.chars().count());
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
#[path = "wire_tests.rs"]
mod tests;
