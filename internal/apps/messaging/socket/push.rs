//! What a push asks for, and whether it may be asked so.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::apps::messaging::socket::reason;
use crate::apps::messaging::store::Operation;
use crate::apps::messaging::vocabulary::Vocabulary;
use crate::postgres::apps::messaging::Draft;

/// Largest content, and largest metadata, in bytes.
pub(super) const MAX_CONTENT_BYTES: usize = 65_536;
/// Longest signature or key, in bytes.
const MAX_SIGNATURE_BYTES: usize = 4096;
/// Longest reaction, in characters.
const MAX_REACTION_CHARS: usize = 10;
/// Most conversations that one push marks as read.
const MAX_MARKED: usize = 100;

/// How an operation is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Join,
    /// Not at all, but with what a user's channel brings.
    Arrive,
    /// As the vocabulary of this push has it.
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

/// What a push comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    /// The store must do something.
    Operation(Manner, Operation),
    /// Somebody types, or no more.
    Typing(bool),
    /// Somebody wants to be seen so; whether an answer is expected.
    Status(String, bool),
    /// The answer is known.
    Known(Value),
    /// It can't be done.
    Wrong(Value),
    /// Nothing is to be said.
    Nothing,
}

/// Reads a push on a channel.
pub(super) fn read(topic: &str, event: &str, payload: &Value, vocabulary: Vocabulary) -> Asked {
    let empty = Map::new();
    let payload = match payload {
        Value::Object(payload) => payload,
        Value::Null => &empty,
        _ => return Asked::Wrong(reason("invalid_payload")),
    };
    let conversation = topic
        .strip_prefix("conversation:")
        .and_then(|id| id.parse().ok());
    let asked = match conversation {
        Some(conversation) => in_conversation(conversation, event, payload, vocabulary),
        None => of_user(event, payload),
    };
    asked.unwrap_or_else(Asked::Wrong)
}

/// Err: what the client is told.
type Reading = Result<Asked, Value>;

fn in_conversation(
    conversation: Uuid,
    event: &str,
    payload: &Map<String, Value>,
    vocabulary: Vocabulary,
) -> Reading {
    let receipt = |manner, read| {
        Ok(Asked::Operation(
            manner,
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
            let manner = if adds {
                Manner::React(vocabulary)
            } else {
                Manner::Unreact(vocabulary)
            };
            Ok(Asked::Operation(
                manner,
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
        // It has no answer, so what is wrong with it can't be told.
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

/// A member of a payload that is not what it should be: its name, and what is wrong. `too_large` has a reason of its own.
struct Invalid(&'static str, &'static str);

const TOO_LARGE: &str = "should be at most 65536 bytes";

fn invalid(vocabulary: Vocabulary, Invalid(name, what): &Invalid) -> Value {
    let why = match vocabulary {
        _ if *what == TOO_LARGE => "message_too_large",
        Vocabulary::Head if *name == "signature" => "invalid_signature",
        Vocabulary::Head => "invalid_payload",
        Vocabulary::Document => "validation_failed",
    };
    json!({"reason": why, "errors": {*name: [*what]}})
}

fn send(conversation: Uuid, payload: &Map<String, Value>, vocabulary: Vocabulary) -> Reading {
    let draft = draft(payload).map_err(|error| invalid(vocabulary, &error))?;
    Ok(Asked::Operation(
        Manner::Send(vocabulary),
        Operation::Send(conversation, Box::new(draft)),
    ))
}

fn draft(payload: &Map<String, Value>) -> Result<Draft, Invalid> {
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
    Ok(Draft {
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

/// JSON text. Postgres keeps no NUL in a `jsonb`.
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
