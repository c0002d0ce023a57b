//! Converts stored rows to the JSON that clients of each API version read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::api_version::ClientApiVersion;
use latido_base::time_format::{from_unix_us, iso};
use latido_postgres::apps::messaging::{ConversationSummary, StoredConversation, StoredMessage};

/// The number of characters of a message in its preview.
const PREVIEW_CHARS: usize = 100;

/// Formats microseconds since the Unix epoch as RFC 3339.
pub(super) fn rfc3339(us: i64) -> String {
    iso(from_unix_us(us))
}

/// Parses JSON text that the server or the database wrote. Returns `{}` if the text is not valid
/// JSON.
pub(super) fn parse_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!({}))
}

/// Builds an object from camelCase names, which are converted to snake_case for the documented API.
pub(super) fn object_for<const N: usize>(
    api_version: ClientApiVersion,
    fields: [(&str, Value); N],
) -> Value {
    let spell = |(name, value): (&str, Value)| match api_version {
        ClientApiVersion::Current => (name.to_owned(), value),
        ClientApiVersion::Documented => (to_snake_case(name), value),
    };
    Value::Object(fields.into_iter().map(spell).collect::<Map<_, _>>())
}

fn to_snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Returns a message in the format «M» of the contract.
pub(super) fn message_json(message: &StoredMessage, api_version: ClientApiVersion) -> Value {
    object_for(
        api_version,
        [
            ("id", json!(message.id)),
            ("conversationId", json!(message.conversation_id)),
            ("senderId", json!(message.sender_id)),
            ("replyToId", json!(message.reply_to_id)),
            ("messageType", json!(message.message_type)),
            ("content", json!(content_text(message, api_version))),
            ("metadata", parse_json(&message.metadata)),
            ("clientRandom", json!(message.client_random)),
            ("sentAt", json!(rfc3339(message.sent_at_us))),
            ("editedAt", json!(message.edited_at_us.map(rfc3339))),
            ("isDeleted", json!(message.is_deleted)),
            ("deleteForEveryone", json!(message.delete_for_everyone)),
            ("deliveryStatus", json!(message.delivery_status)),
        ],
    )
}

/// Returns the content of a message. Clients of the documented API decode base64, because the
/// server that they were written for sends it. Other clients read text. Bytes that are not UTF-8,
/// which only direct SQL can have stored, are sent to them in base64 as well.
fn content_text(message: &StoredMessage, api_version: ClientApiVersion) -> String {
    match std::str::from_utf8(&message.content) {
        Ok(text) if api_version == ClientApiVersion::Current => text.to_owned(),
        _ => STANDARD.encode(&message.content),
    }
}

/// Returns a message for the documented API in a conversation: not wrapped, and with its id under
/// two names.
pub(super) fn flat_message_json(stored: &StoredMessage) -> Value {
    let mut object = json!({"message_id": stored.id});
    if let (Value::Object(object), Value::Object(rest)) = (
        &mut object,
        message_json(stored, ClientApiVersion::Documented),
    ) {
        object.extend(rest);
    }
    object
}

/// Returns a message for the documented API on the user's channel, with a preview instead of the
/// content.
pub(super) fn message_preview_json(message: &StoredMessage) -> Value {
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
        "sent_at": rfc3339(message.sent_at_us),
        "preview": preview,
    })
}

/// Returns a conversation for the reply to a join.
pub(super) fn conversation_json(conversation: &StoredConversation) -> Value {
    json!({
        "id": conversation.id,
        "type": conversation.kind,
        "metadata": parse_json(&conversation.metadata),
        "is_active": conversation.is_active,
    })
}

/// Returns a conversation for a list. The names of the list's own fields are the same in both API
/// versions.
pub(super) fn summary_json(summary: &ConversationSummary, api_version: ClientApiVersion) -> Value {
    let last = summary.last_message.as_ref();
    let mut value = conversation_json(&summary.conversation);
    let settings = parse_json(&summary.settings);
    let list_fields = json!({
        "unread_count": summary.unread_count,
        "last_message": last.map(|last| message_json(last, api_version)),
        "last_activity": rfc3339(last.map_or(summary.updated_at_us, |last| last.sent_at_us)),
        "member_count": summary.member_count,
        "updated_at": rfc3339(summary.updated_at_us),
        "is_archived": settings.get("archived") == Some(&Value::Bool(true)),
        "is_pinned": settings.get("pinned") == Some(&Value::Bool(true)),
    });
    if let (Value::Object(value), Value::Object(list_fields)) = (&mut value, list_fields) {
        value.extend(list_fields);
    }
    value
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;

    /// Returns a message of conversation 0xc by user 1, as test data.
    pub(in super::super) fn test_message(content: &str) -> StoredMessage {
        StoredMessage {
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
            message_json(&test_message("hola"), ClientApiVersion::Current).to_string(),
            r#"{"id":"00000000-0000-0000-0000-00000000000a","conversationId":"00000000-0000-0000-0000-00000000000c","senderId":"00000000-0000-0000-0000-000000000001","replyToId":null,"messageType":"text","content":"hola","metadata":{"keyOfTheirs":1},"clientRandom":7,"sentAt":"2023-11-14T22:13:20Z","editedAt":null,"isDeleted":false,"deleteForEveryone":false,"deliveryStatus":"sent"}"#
        );
        assert_eq!(
            flat_message_json(&test_message("hola")).to_string(),
            r#"{"message_id":"00000000-0000-0000-0000-00000000000a","id":"00000000-0000-0000-0000-00000000000a","conversation_id":"00000000-0000-0000-0000-00000000000c","sender_id":"00000000-0000-0000-0000-000000000001","reply_to_id":null,"message_type":"text","content":"aG9sYQ==","metadata":{"keyOfTheirs":1},"client_random":7,"sent_at":"2023-11-14T22:13:20Z","edited_at":null,"is_deleted":false,"delete_for_everyone":false,"delivery_status":"sent"}"#
        );
        assert_eq!(
            message_preview_json(&test_message("hola")).to_string(),
            r#"{"message_id":"00000000-0000-0000-0000-00000000000a","conversation_id":"00000000-0000-0000-0000-00000000000c","sender_id":"00000000-0000-0000-0000-000000000001","message_type":"text","sent_at":"2023-11-14T22:13:20Z","preview":"hola"}"#
        );
    }

    #[test]
    fn content_that_is_not_utf8_is_sent_as_base64() {
        let bytes = StoredMessage {
            content: vec![0xff, 0],
            ..test_message("")
        };
        assert_eq!(
            message_json(&bytes, ClientApiVersion::Current)["content"],
            "/wA="
        );
    }
}
