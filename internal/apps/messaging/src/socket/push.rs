//! Parses and validates a client's push.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::socket::reason;
use crate::store::Operation;
use crate::vocabulary::Vocabulary;
use latido_postgres::apps::messaging::MessageDraft;

/// The largest content, and the largest metadata, in bytes.
pub(super) const MAX_CONTENT_BYTES: usize = 65_536;
/// The longest signature or public key, in bytes.
const MAX_SIGNATURE_BYTES: usize = 4096;
/// The longest reaction, in characters.
const MAX_REACTION_CHARS: usize = 10;
/// The largest number of conversations that one push may mark as read.
const MAX_MARKED: usize = 100;

/// The form of the reply to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Join,
    /// No reply, but the initial events of a user's channel.
    Arrive,
    /// A reply in the API version of this push.
    Send(Vocabulary),
    Edit,
    Delete,
    Read(Vocabulary),
    Delivered,
    React(Vocabulary),
    Unreact(Vocabulary),
    MarkAll,
    MarkOne,
    Unread,
    List,
}

/// The meaning of a push after validation.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// An operation for the store, and the form of its reply.
    Operation(Manner, Operation),
    /// The user starts (`true`) or stops (`false`) typing.
    Typing(bool),
    /// The user sets a status; `true` if the client expects a reply.
    Status(String, bool),
    /// A successful reply that needs no operation.
    Known(Value),
    /// An error reply: the push is not valid.
    Wrong(Value),
    /// No reply and no effect.
    Nothing,
}

/// Parses a push on a joined channel.
pub(super) fn read(topic: &str, event: &str, payload: &Value, api_version: Vocabulary) -> Asked {
    let empty = Map::new();
    let payload = match payload {
        Value::Object(payload) => payload,
        Value::Null => &empty,
        _ => return Asked::Wrong(reason("invalid_payload")),
    };
    let conversation = topic
        .strip_prefix("conversation:")
        .and_then(|id| id.parse().ok());
    let parsed = match conversation {
        Some(conversation) => in_conversation(conversation, event, payload, api_version),
        None => of_user(event, payload),
    };
    parsed.unwrap_or_else(Asked::Wrong)
}

/// The parsed push, or the error payload for the client.
type Reading = Result<Asked, Value>;

fn in_conversation(
    conversation: Uuid,
    event: &str,
    payload: &Map<String, Value>,
    api_version: Vocabulary,
) -> Reading {
    let receipt = |reply_style, read| {
        Ok(Asked::Operation(
            reply_style,
            Operation::Receipt(conversation, message_id(payload)?, read),
        ))
    };
    match event {
        "send_message" => send(conversation, payload, Vocabulary::Document),
        "new_message" => send(conversation, payload, Vocabulary::Head),
        "typing_start" => Ok(Asked::Typing(true)),
        "typing_stop" => Ok(Asked::Typing(false)),
        "user_typing" => Ok(Asked::Typing(
            payload
                .get("typing")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        )),
        "mark_as_read" => receipt(Manner::Read(Vocabulary::Document), true),
        "message_read" | "mark_read" => receipt(Manner::Read(Vocabulary::Head), true),
        "message_delivered" => receipt(Manner::Delivered, false),
        "add_reaction" | "remove_reaction" => {
            let (message, reaction) = (message_id(payload)?, reaction(payload)?);
            let adds = event == "add_reaction";
            let reply_style = if adds {
                Manner::React(api_version)
            } else {
                Manner::Unreact(api_version)
            };
            Ok(Asked::Operation(
                reply_style,
                Operation::React(conversation, message, reaction, adds),
            ))
        }
        "edit_message" => {
            let message = message_id(payload)?;
            let content = content(payload).map_err(|error| invalid(Vocabulary::Head, &error))?;
            let metadata = metadata(payload).map_err(|error| invalid(Vocabulary::Head, &error))?;
            Ok(Asked::Operation(
                Manner::Edit,
                Operation::Edit(conversation, message, content.into(), metadata),
            ))
        }
        "delete_message" => {
            let everyone = payload
                .get("delete_for_everyone")
                .and_then(Value::as_bool)
                .unwrap_or(false);
            Ok(Asked::Operation(
                Manner::Delete,
                Operation::Delete(conversation, message_id(payload)?, everyone),
            ))
        }
        _ => Err(reason("unknown_event")),
    }
}

fn of_user(event: &str, payload: &Map<String, Value>) -> Reading {
    match event {
        "ping" => Ok(Asked::Known(json!({"pong": payload.get("timestamp")}))),
        "update_status" => Ok(Asked::Status(
            status(payload).ok_or_else(|| reason("invalid_status"))?,
            true,
        )),
        // This push has no reply, so an invalid one is ignored without an error.
        "update_presence" => {
            Ok(status(payload).map_or(Asked::Nothing, |status| Asked::Status(status, false)))
        }
        "mark_all_read" => {
            let ids = payload
                .get("conversation_ids")
                .and_then(Value::as_array)
                .filter(|ids| ids.len() <= MAX_MARKED);
            let ids = ids.and_then(|ids| ids.iter().map(uuid).collect::<Option<Vec<_>>>());
            Ok(Asked::Operation(
                Manner::MarkAll,
                Operation::ReadAll(ids.ok_or_else(|| reason("invalid_payload"))?),
            ))
        }
        "mark_conversation_read" => {
            let id = payload
                .get("conversation_id")
                .and_then(uuid)
                .ok_or_else(|| reason("invalid_payload"))?;
            Ok(Asked::Operation(
                Manner::MarkOne,
                Operation::ReadAll(vec![id]),
            ))
        }
        "get_unread_messages" => Ok(Asked::Operation(Manner::Unread, Operation::Unread)),
        "get_conversations" => Ok(Asked::Operation(Manner::List, Operation::List)),
        _ => Err(reason("unknown_event")),
    }
}

fn status(payload: &Map<String, Value>) -> Option<String> {
    let status = payload.get("status")?.as_str()?;
    ["online", "away", "busy", "offline"]
        .contains(&status)
        .then(|| status.to_owned())
}

fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse().ok()
}

fn message_id(payload: &Map<String, Value>) -> Result<Uuid, Value> {
    payload.get("message_id").and_then(uuid).ok_or_else(
        || json!({"reason": "invalid_payload", "errors": {"message_id": ["is invalid"]}}),
    )
}

fn reaction(payload: &Map<String, Value>) -> Result<String, Value> {
    let text = payload
        .get("reaction")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let fits =
        !text.is_empty() && text.chars().count() <= MAX_REACTION_CHARS && !text.contains('\0');
    fits.then(|| text.to_owned())
        .ok_or_else(|| json!({"errors": {"reaction": ["should be 1 to 10 characters"]}}))
}

/// An invalid field of a payload: its name and the problem. `TOO_LARGE` leads to a separate reason
/// on the wire.
struct Invalid(&'static str, &'static str);

const TOO_LARGE: &str = "should be at most 65536 bytes";

fn invalid(api_version: Vocabulary, Invalid(name, what): &Invalid) -> Value {
    let reason_text = match api_version {
        _ if *what == TOO_LARGE => "message_too_large",
        Vocabulary::Head if *name == "signature" => "invalid_signature",
        Vocabulary::Head => "invalid_payload",
        Vocabulary::Document => "validation_failed",
    };
    json!({"reason": reason_text, "errors": {*name: [*what]}})
}

fn send(conversation: Uuid, payload: &Map<String, Value>, api_version: Vocabulary) -> Reading {
    let draft = draft(payload).map_err(|error| invalid(api_version, &error))?;
    Ok(Asked::Operation(
        Manner::Send(api_version),
        Operation::Send(conversation, Box::new(draft)),
    ))
}

fn draft(payload: &Map<String, Value>) -> Result<MessageDraft, Invalid> {
    let kind = match payload.get("message_type") {
        None | Some(Value::Null) => "text",
        Some(kind) => kind
            .as_str()
            .filter(|kind| ["text", "media", "system"].contains(kind))
            .ok_or(Invalid("message_type", "should be text, media or system"))?,
    };
    let client_random = payload
        .get("client_random")
        .and_then(Value::as_i64)
        .and_then(|number| i32::try_from(number).ok());
    let reply_to = match payload.get("reply_to_id") {
        None | Some(Value::Null) => None,
        Some(id) => Some(uuid(id).ok_or(Invalid("reply_to_id", "is invalid"))?),
    };
    Ok(MessageDraft {
        kind: kind.to_owned(),
        content: content(payload)?.into(),
        metadata: metadata(payload)?.unwrap_or_else(|| "{}".to_owned()),
        client_random: client_random
            .ok_or(Invalid("client_random", "should be an integer of 32 bits"))?,
        reply_to,
        signature: short(payload, "signature")?,
        sender_public_key: short(payload, "sender_public_key")?,
    })
}

fn content(payload: &Map<String, Value>) -> Result<String, Invalid> {
    let content = payload
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match content.len() {
        0 => Err(Invalid("content", "can't be blank")),
        1..=MAX_CONTENT_BYTES => Ok(content.to_owned()),
        _ => Err(Invalid("content", TOO_LARGE)),
    }
}

/// Returns the metadata as JSON text. PostgreSQL stores no NUL in a `jsonb`, so it is rejected
/// here.
fn metadata(payload: &Map<String, Value>) -> Result<Option<String>, Invalid> {
    match payload.get("metadata") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(metadata)) => {
            let text = json!(metadata).to_string();
            let fits = text.len() <= MAX_CONTENT_BYTES && !text.contains("\\u0000");
            fits.then_some(Some(text)).ok_or(Invalid(
                "metadata",
                "should be at most 65536 bytes, without NUL",
            ))
        }
        Some(_) => Err(Invalid("metadata", "should be an object")),
    }
}

fn short(payload: &Map<String, Value>, name: &'static str) -> Result<Option<String>, Invalid> {
    match payload.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_SIGNATURE_BYTES && !text.contains('\0') => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(Invalid("signature", "is invalid")),
    }
}
