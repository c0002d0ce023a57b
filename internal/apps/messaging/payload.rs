//! Stored things as clients of either vocabulary read them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::apps::messaging::vocabulary::Vocabulary;
use crate::postgres::apps::messaging::{Conversation, Message, Summary};

/// Characters of a message that its preview shows.
const PREVIEW_CHARS: usize = 100;

/// RFC 3339 of microseconds since the Unix epoch.
pub(super) fn iso(us: i64) -> String {
    Timestamp::from_microsecond(us)
        .unwrap_or_default()
        .to_string()
}

/// JSON text of ours or of the database's.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({}))
}

/// An object whose names, written in camelCase here, are spelled as the vocabulary has them.
pub(super) fn spelled<const N: usize>(
    vocabulary: Vocabulary,
    members: [(&str, Value); N],
) -> Value {
    let spell = |(name, value): (&str, Value)| match vocabulary {
        Vocabulary::Head => (name.to_owned(), value),
        Vocabulary::Document => (snake(name), value),
    };
    Value::Object(members.into_iter().map(spell).collect::<Map<_, _>>())
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// M of the contract.
pub(super) fn message(message: &Message, vocabulary: Vocabulary) -> Value {
    spelled(
        vocabulary,
        [
            ("id", json!(message.id)),
            ("conversationId", json!(message.conversation_id)),
            ("senderId", json!(message.sender_id)),
            ("replyToId", json!(message.reply_to_id)),
            ("messageType", json!(message.message_type)),
            ("content", json!(content(message, vocabulary))),
            ("metadata", parsed(&message.metadata)),
            ("clientRandom", json!(message.client_random)),
            ("sentAt", json!(iso(message.sent_at_us))),
            ("editedAt", json!(message.edited_at_us.map(iso))),
            ("isDeleted", json!(message.is_deleted)),
            ("deleteForEveryone", json!(message.delete_for_everyone)),
            ("deliveryStatus", json!(message.delivery_status)),
        ],
    )
}

/// The document's clients decode base64, because the code that they were made for sends it. The others read text; bytes that are none, which
/// only SQL can have put there, come to them in base64 as well.
fn content(message: &Message, vocabulary: Vocabulary) -> String {
    match std::str::from_utf8(&message.content) {
        Ok(text) if vocabulary == Vocabulary::Head => text.to_owned(),
        _ => STANDARD.encode(&message.content),
    }
}

/// A message as the document's clients get it in a conversation: not wrapped, and with its id under two names.
pub(super) fn flat(stored: &Message) -> Value {
    let mut flat = json!({"message_id": stored.id});
    if let (Value::Object(flat), Value::Object(rest)) =
        (&mut flat, message(stored, Vocabulary::Document))
    {
        flat.extend(rest);
    }
    flat
}

/// A message as the document's clients get it on their user's channel.
pub(super) fn notice(message: &Message) -> Value {
    let text = String::from_utf8_lossy(&message.content);
    let preview: String = if message.message_type == "text" {
        text.chars().take(PREVIEW_CHARS).collect()
    } else {
        String::new()
    };
    json!({
        "message_id": message.id,
        "conversation_id": message.conversation_id,
        "sender_id": message.sender_id,
        "message_type": message.message_type,
        "sent_at": iso(message.sent_at_us),
        "preview": preview,
    })
}

/// A conversation in the answer to a join.
pub(super) fn conversation(conversation: &Conversation) -> Value {
    json!({
        "id": conversation.id,
        "type": conversation.kind,
        "metadata": parsed(&conversation.metadata),
        "is_active": conversation.is_active,
    })
}

/// A conversation in a list. The list's own names are the same in both vocabularies.
pub(super) fn summary(summary: &Summary, vocabulary: Vocabulary) -> Value {
    let last = summary.last_message.as_ref();
    let mut value = conversation(&summary.conversation);
    let settings = parsed(&summary.settings);
    let more = json!({
        "unread_count": summary.unread_count,
        "last_message": last.map(|last| message(last, vocabulary)),
        "last_activity": iso(last.map_or(summary.updated_at_us, |last| last.sent_at_us)),
        "member_count": summary.member_count,
        "updated_at": iso(summary.updated_at_us),
        "is_archived": settings.get("archived") == Some(&Value::Bool(true)),
        "is_pinned": settings.get("pinned") == Some(&Value::Bool(true)),
    });
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;

    /// A message to be looked at.
    pub(in super::super) fn stored(content: &str) -> Message {
        Message {
            id: Uuid::from_u128(0xa),
            conversation_id: Uuid::from_u128(0xc),
            sender_id: Uuid::from_u128(1),
            reply_to_id: None,
            message_type: "text".into(),
            content: content.into(),
            metadata: r#"{"keyOfTheirs":1}"#.into(),
            client_random: 7,
            sent_at_us: 1_700_000_000_000_000,
            edited_at_us: None,
            is_deleted: false,
            delete_for_everyone: false,
            delivery_status: "sent".into(),
        }
    }

    #[test]
    fn golden_messages() {
        assert_eq!(
            message(&stored("hola"), Vocabulary::Head).to_string(),
            r#"{"id":"00000000-0000-0000-0000-00000000000a","conversationId":"00000000-0000-0000-0000-00000000000c","senderId":"00000000-0000-0000-0000-000000000001","replyToId":null,"messageType":"text","content":"hola","metadata":{"keyOfTheirs":1},"clientRandom":7,"sentAt":"2023-11-14T22:13:20Z","editedAt":null,"isDeleted":false,"deleteForEveryone":false,"deliveryStatus":"sent"}"#
        );
        assert_eq!(
            flat(&stored("hola")).to_string(),
            r#"{"message_id":"00000000-0000-0000-0000-00000000000a","id":"00000000-0000-0000-0000-00000000000a","conversation_id":"00000000-0000-0000-0000-00000000000c","sender_id":"00000000-0000-0000-0000-000000000001","reply_to_id":null,"message_type":"text","content":"aG9sYQ==","metadata":{"keyOfTheirs":1},"client_random":7,"sent_at":"2023-11-14T22:13:20Z","edited_at":null,"is_deleted":false,"delete_for_everyone":false,"delivery_status":"sent"}"#
        );
        assert_eq!(
            notice(&stored("hola")).to_string(),
            r#"{"message_id":"00000000-0000-0000-0000-00000000000a","conversation_id":"00000000-0000-0000-0000-00000000000c","sender_id":"00000000-0000-0000-0000-000000000001","message_type":"text","sent_at":"2023-11-14T22:13:20Z","preview":"hola"}"#
        );
    }

    #[test]
    fn bytes_that_are_no_text_stay_readable() {
        let bytes = Message {
            content: vec![0xff, 0],
            ..stored("")
        };
        assert_eq!(message(&bytes, Vocabulary::Head)["content"], "/wA=");
    }
}
