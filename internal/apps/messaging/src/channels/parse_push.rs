//! Parses and validates a client's push.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api_version::ClientApiVersion;
use crate::channels::effect::{ErrorPayload, error_reason};
use crate::database::MessageDraft;
use crate::store::StoreOperation;

/// The largest content, and the largest metadata, in bytes.
pub(super) const MAX_CONTENT_BYTES: usize = 65_536;
/// The longest signature or public key, in bytes.
const MAX_SIGNATURE_BYTES: usize = 4096;
/// The longest reaction, in characters.
const MAX_REACTION_CHARS: usize = 10;
/// The largest number of conversations that one push may mark as read.
const MAX_MARKED_CONVERSATIONS: usize = 100;

/// The form of the reply to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyStyle {
    Join,
    /// No reply, but the initial events of a user's channel.
    UserSync,
    /// A reply in the API version of this push.
    Send(ClientApiVersion),
    Edit,
    Delete,
    MarkRead(ClientApiVersion),
    Delivered,
    React(ClientApiVersion),
    Unreact(ClientApiVersion),
    MarkAllRead,
    MarkConversationRead,
    Unread,
    List,
}

/// The meaning of a push after validation.
#[derive(Debug, PartialEq)]
pub(super) enum ParsedPush {
    /// An operation for the store, and the form of its reply.
    Operation(ReplyStyle, StoreOperation),
    /// The user starts (`true`) or stops (`false`) typing.
    Typing(bool),
    /// The user sets a status; `true` if the client expects a reply.
    Status(String, bool),
    /// A successful reply that needs no operation.
    Reply(Value),
    /// An error reply: the push is not valid.
    Error(ErrorPayload),
    /// No reply and no effect.
    Ignore,
}

/// Parses a push on a joined channel.
pub(super) fn parse(
    topic: &str,
    event: &str,
    payload: &Value,
    api_version: ClientApiVersion,
) -> ParsedPush {
    let empty = Map::new();
    let payload = match payload {
        Value::Object(payload) => payload,
        Value::Null => &empty,
        _ => return ParsedPush::Error(error_reason("invalid_payload")),
    };
    let conversation = topic
        .strip_prefix("conversation:")
        .and_then(|id| id.parse().ok());
    let parsed = match conversation {
        Some(conversation) => parse_conversation_push(conversation, event, payload, api_version),
        None => parse_user_push(event, payload),
    };
    parsed.unwrap_or_else(ParsedPush::Error)
}

/// The parsed push, or the error payload for the client.
type ParseResult = Result<ParsedPush, ErrorPayload>;

fn parse_conversation_push(
    conversation: Uuid,
    event: &str,
    payload: &Map<String, Value>,
    api_version: ClientApiVersion,
) -> ParseResult {
    let receipt = |reply_style, read| {
        Ok(ParsedPush::Operation(
            reply_style,
            StoreOperation::RecordReceipt(conversation, parse_message_id(payload)?, read),
        ))
    };
    match event {
        "send_message" => parse_send(conversation, payload, ClientApiVersion::Documented),
        "new_message" => parse_send(conversation, payload, ClientApiVersion::Current),
        "typing_start" => Ok(ParsedPush::Typing(true)),
        "typing_stop" => Ok(ParsedPush::Typing(false)),
        "user_typing" => Ok(ParsedPush::Typing(
            payload
                .get("typing")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        )),
        "mark_as_read" => receipt(ReplyStyle::MarkRead(ClientApiVersion::Documented), true),
        "message_read" | "mark_read" => {
            receipt(ReplyStyle::MarkRead(ClientApiVersion::Current), true)
        }
        "message_delivered" => receipt(ReplyStyle::Delivered, false),
        "add_reaction" | "remove_reaction" => {
            let (message, reaction) = (parse_message_id(payload)?, parse_reaction(payload)?);
            let adds = event == "add_reaction";
            let reply_style = if adds {
                ReplyStyle::React(api_version)
            } else {
                ReplyStyle::Unreact(api_version)
            };
            Ok(ParsedPush::Operation(
                reply_style,
                StoreOperation::React(conversation, message, reaction, adds),
            ))
        }
        "edit_message" => {
            let message = parse_message_id(payload)?;
            let content = parse_content(payload)
                .map_err(|error| invalid_field_payload(ClientApiVersion::Current, &error))?;
            let metadata = parse_metadata(payload)
                .map_err(|error| invalid_field_payload(ClientApiVersion::Current, &error))?;
            Ok(ParsedPush::Operation(
                ReplyStyle::Edit,
                StoreOperation::Edit(conversation, message, content.into(), metadata),
            ))
        }
        "delete_message" => {
            let everyone = payload
                .get("delete_for_everyone")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            Ok(ParsedPush::Operation(
                ReplyStyle::Delete,
                StoreOperation::Delete(conversation, parse_message_id(payload)?, everyone),
            ))
        }
        _ => Err(error_reason("unknown_event")),
    }
}

fn parse_user_push(event: &str, payload: &Map<String, Value>) -> ParseResult {
    match event {
        "ping" => Ok(ParsedPush::Reply(json!({"pong": payload.get("timestamp")}))),
        "update_status" => Ok(ParsedPush::Status(
            parse_status(payload).ok_or_else(|| error_reason("invalid_status"))?,
            true,
        )),
        // This push has no reply, so an invalid one is ignored without an error.
        "update_presence" => Ok(parse_status(payload).map_or(ParsedPush::Ignore, |status| {
            ParsedPush::Status(status, false)
        })),
        "mark_all_read" => {
            let ids = payload
                .get("conversation_ids")
                .and_then(Value::as_array)
                .filter(|ids| ids.len() <= MAX_MARKED_CONVERSATIONS);
            let ids = ids.ok_or_else(|| error_reason("invalid_payload"))?;
            // The reply reports the malformed ids (`reply::insert_malformed_ids`).
            Ok(ParsedPush::Operation(
                ReplyStyle::MarkAllRead,
                StoreOperation::MarkAllRead(ids.iter().filter_map(parse_uuid).collect()),
            ))
        }
        "mark_conversation_read" => {
            let id = payload
                .get("conversation_id")
                .and_then(parse_uuid)
                .ok_or_else(|| error_reason("invalid_payload"))?;
            Ok(ParsedPush::Operation(
                ReplyStyle::MarkConversationRead,
                StoreOperation::MarkAllRead(vec![id]),
            ))
        }
        "get_unread_messages" => Ok(ParsedPush::Operation(
            ReplyStyle::Unread,
            StoreOperation::ListUnread,
        )),
        "get_conversations" => Ok(ParsedPush::Operation(
            ReplyStyle::List,
            StoreOperation::ListConversations,
        )),
        _ => Err(error_reason("unknown_event")),
    }
}

fn parse_status(payload: &Map<String, Value>) -> Option<String> {
    let status = payload.get("status")?.as_str()?;
    ["online", "away", "busy", "offline"]
        .contains(&status)
        .then(|| status.to_owned())
}

pub(super) fn parse_uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn parse_message_id(payload: &Map<String, Value>) -> Result<Uuid, ErrorPayload> {
    payload
        .get("message_id")
        .and_then(parse_uuid)
        .ok_or_else(|| {
            ErrorPayload(
                json!({"reason": "invalid_payload", "errors": {"message_id": ["is invalid"]}}),
            )
        })
}

fn parse_reaction(payload: &Map<String, Value>) -> Result<String, ErrorPayload> {
    let text = payload
        .get("reaction")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let fits =
        !text.is_empty() && text.chars().count() <= MAX_REACTION_CHARS && !text.contains('\0');
    fits.then(|| text.to_owned()).ok_or_else(|| {
        ErrorPayload(json!({"errors": {"reaction": ["should be 1 to 10 characters"]}}))
    })
}

/// An invalid field of a payload: its name and the problem. `TOO_LARGE` leads to a separate reason
/// on the wire.
struct InvalidField(&'static str, &'static str);

const TOO_LARGE: &str = "should be at most 65536 bytes";

fn invalid_field_payload(
    api_version: ClientApiVersion,
    InvalidField(name, what): &InvalidField,
) -> ErrorPayload {
    let reason_text = match api_version {
        _ if *what == TOO_LARGE => "message_too_large",
        ClientApiVersion::Current if *name == "signature" => "invalid_signature",
        ClientApiVersion::Current => "invalid_payload",
        ClientApiVersion::Documented => "validation_failed",
    };
    ErrorPayload(json!({"reason": reason_text, "errors": {*name: [*what]}}))
}

fn parse_send(
    conversation: Uuid,
    payload: &Map<String, Value>,
    api_version: ClientApiVersion,
) -> ParseResult {
    let draft = parse_draft(payload).map_err(|error| invalid_field_payload(api_version, &error))?;
    Ok(ParsedPush::Operation(
        ReplyStyle::Send(api_version),
        StoreOperation::Send(conversation, Box::new(draft)),
    ))
}

fn parse_draft(payload: &Map<String, Value>) -> Result<MessageDraft, InvalidField> {
    let kind = match payload.get("message_type") {
        None | Some(Value::Null) => "text",
        Some(kind) => kind
            .as_str()
            .filter(|kind| ["text", "media", "system"].contains(kind))
            .ok_or(InvalidField(
                "message_type",
                "should be text, media or system",
            ))?,
    };
    let client_random = payload
        .get("client_random")
        .and_then(Value::as_i64)
        .and_then(|number| i32::try_from(number).ok());
    let reply_to = match payload.get("reply_to_id") {
        None | Some(Value::Null) => None,
        Some(id) => Some(parse_uuid(id).ok_or(InvalidField("reply_to_id", "is invalid"))?),
    };
    Ok(MessageDraft {
        kind: kind.to_owned(),
        content: parse_content(payload)?.into(),
        metadata: parse_metadata(payload)?.unwrap_or_else(|| "{}".to_owned()),
        client_random: client_random.ok_or(InvalidField(
            "client_random",
            "should be an integer of 32 bits",
        ))?,
        reply_to,
        signature: parse_signature_field(payload, "signature")?,
        sender_public_key: parse_signature_field(payload, "sender_public_key")?,
    })
}

fn parse_content(payload: &Map<String, Value>) -> Result<String, InvalidField> {
    let content = payload
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match content.len() {
        0 => Err(InvalidField("content", "can't be blank")),
        1..=MAX_CONTENT_BYTES => Ok(content.to_owned()),
        _ => Err(InvalidField("content", TOO_LARGE)),
    }
}

/// Returns the metadata as JSON text. PostgreSQL stores no NUL in a `jsonb`, so it is rejected
/// here.
fn parse_metadata(payload: &Map<String, Value>) -> Result<Option<String>, InvalidField> {
    match payload.get("metadata") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(metadata)) => {
            let text = json!(metadata).to_string();
            let fits = text.len() <= MAX_CONTENT_BYTES && !text.contains("\\u0000");
            fits.then_some(Some(text)).ok_or(InvalidField(
                "metadata",
                "should be at most 65536 bytes, without NUL",
            ))
        }
        Some(_) => Err(InvalidField("metadata", "should be an object")),
    }
}

fn parse_signature_field(
    payload: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<String>, InvalidField> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_SIGNATURE_BYTES && !text.contains('\0') => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(InvalidField("signature", "is invalid")),
    }
}
