//! Row types of the message store, and the columns from which they are read.

use latido_postgres::{DatabaseError, FromSql, Row};
use uuid::Uuid;

/// A stored message. Times are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// The id of the message.
    pub id: Uuid,
    /// The conversation that contains it.
    pub conversation_id: Uuid,
    /// The user that sent it.
    pub sender_id: Uuid,
    /// The message that this one replies to.
    pub reply_to_id: Option<Uuid>,
    /// The type: `text`, `media`, `system`, or any other text that SQL stored.
    pub message_type: String,
    /// The content. It is empty once the message is deleted for everyone.
    pub content: Vec<u8>,
    /// The metadata as JSON text.
    pub metadata: String,
    /// The number that the client chose to identify retries.
    pub client_random: i32,
    /// The time at which it was sent.
    pub sent_at_us: i64,
    /// The time of the last edit.
    pub edited_at_us: Option<i64>,
    /// `true` once the message is deleted.
    pub is_deleted: bool,
    /// `true` if it is deleted for all members.
    pub delete_for_everyone: bool,
    /// The most advanced status of any recipient: `sent`, `delivered` or `read`.
    pub delivery_status: String,
}

/// A row of `conversations`, without its members.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredConversation {
    /// The id of the conversation.
    pub id: Uuid,
    /// The kind, for example `direct` or `group`.
    pub kind: String,
    /// The metadata as JSON text.
    pub metadata: String,
    /// `false` if all operations in the conversation are refused.
    pub is_active: bool,
}

/// An entry of a member's conversation list.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationSummary {
    /// The conversation that the entry describes.
    pub conversation: StoredConversation,
    /// The member's settings as JSON text.
    pub settings: String,
    /// The number of active members.
    pub member_count: i64,
    /// The number of messages that the member has not read, counted up to 1,000.
    pub unread_count: i64,
    /// The time of the last change, in microseconds since the Unix epoch.
    pub updated_at_us: i64,
    /// The newest message, if there is one.
    pub last_message: Option<StoredMessage>,
}

/// A reaction that was added to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReaction {
    /// The id of the reaction.
    pub id: Uuid,
    /// The message it belongs to.
    pub message_id: Uuid,
    /// The user that added it.
    pub user_id: Uuid,
    /// The reaction itself, usually an emoji.
    pub reaction: String,
    /// The time of the reaction, in microseconds since the Unix epoch.
    pub at_us: i64,
}

/// The result of storing or changing a message.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOutcome {
    /// The message has the requested state now.
    Applied {
        /// The message as it is stored.
        message: Box<StoredMessage>,
        /// `true` if this call made the change, `false` for a retry.
        is_new: bool,
    },
    /// The database refused. The text is the reason code of the client API.
    Rejected(String),
}

/// The outcome of adding a reaction.
#[derive(Debug, Clone, PartialEq)]
pub enum ReactionOutcome {
    /// The reaction was added.
    Added(MessageReaction),
    /// The database refused. The text is the reason code of the client API.
    Rejected(String),
}

/// Lists the columns that [`StoredMessage::read`] expects, from a row with the given alias.
macro_rules! message_columns {
    ($row:literal) => {
        concat!(
            $row, ".id, ", $row, ".conversation_id, ", $row, ".sender_id, ", $row, ".reply_to_id, ",
            $row, ".message_type::pg_catalog.text, ", $row, ".content, ", $row, ".metadata::pg_catalog.text, ",
            $row, ".client_random, ",
            "(extract(epoch FROM ", $row, ".sent_at) OPERATOR(pg_catalog.*) 1000000)::bigint, ",
            "(extract(epoch FROM ", $row, ".edited_at) OPERATOR(pg_catalog.*) 1000000)::bigint, ",
            $row, ".is_deleted, ", $row, ".delete_for_everyone, ",
            "CASE WHEN EXISTS (SELECT FROM delivery_statuses s WHERE s.message_id OPERATOR(pg_catalog.=) ", $row,
            ".id AND s.read_at IS NOT NULL) THEN 'read' ",
            "WHEN EXISTS (SELECT FROM delivery_statuses s WHERE s.message_id OPERATOR(pg_catalog.=) ", $row,
            ".id AND s.delivered_at IS NOT NULL) THEN 'delivered' ELSE 'sent' END"
        )
    };
}

/// The number of columns in `message_columns!`.
#[cfg(test)]
const MESSAGE_COLUMN_COUNT: usize = 13;

/// Builds a query for messages. `from` must give them the alias `m`.
pub(super) fn messages_sql(from: &str) -> String {
    format!("SELECT {} FROM {from}", message_columns!("m"))
}

/// Builds a call of a SQL function that returns reason, freshness and message.
pub(super) fn outcome_sql(call: &str) -> String {
    format!(
        "SELECT f.reason, coalesce(f.fresh, false), {} FROM {call} f",
        message_columns!("(f.message)")
    )
}

/// Builds a query for the user's newest messages without a delivery row for which `done` holds.
pub(super) fn messages_without_receipt_sql(done: &str) -> String {
    let from = format!(
        "conversation_members c JOIN conversations v ON v.id OPERATOR(pg_catalog.=) c.conversation_id AND v.is_active
         JOIN messages m ON m.conversation_id OPERATOR(pg_catalog.=) c.conversation_id
         WHERE c.user_id OPERATOR(pg_catalog.=) $1 AND c.is_active AND m.sender_id OPERATOR(pg_catalog.<>) $1
           AND NOT m.is_deleted AND m.sent_at OPERATOR(pg_catalog.>=) c.joined_at
           AND NOT EXISTS (SELECT FROM delivery_statuses d
                           WHERE d.message_id OPERATOR(pg_catalog.=) m.id AND d.user_id OPERATOR(pg_catalog.=) $1 AND {done})
         ORDER BY m.position DESC LIMIT $2"
    );
    messages_sql(&from)
}

pub(super) fn summaries_sql() -> String {
    format!(
        "SELECT c.id, c.type::pg_catalog.text, c.metadata::pg_catalog.text, c.is_active, ours.settings::pg_catalog.text,
                (SELECT pg_catalog.count(*) FROM conversation_members o
                  WHERE o.conversation_id OPERATOR(pg_catalog.=) c.id AND o.is_active),
                (SELECT pg_catalog.count(*) FROM (
                   SELECT FROM messages u
                    WHERE u.conversation_id OPERATOR(pg_catalog.=) c.id AND u.sender_id OPERATOR(pg_catalog.<>) $1
                      AND NOT u.is_deleted AND u.sent_at OPERATOR(pg_catalog.>=) ours.joined_at
                      AND NOT EXISTS (SELECT FROM delivery_statuses d
                                      WHERE d.message_id OPERATOR(pg_catalog.=) u.id AND d.user_id OPERATOR(pg_catalog.=) $1
                                        AND d.read_at IS NOT NULL)
                    LIMIT $3) unread),
                (extract(epoch FROM c.updated_at) OPERATOR(pg_catalog.*) 1000000)::bigint, {}
         FROM conversation_members ours JOIN conversations c ON c.id OPERATOR(pg_catalog.=) ours.conversation_id
         LEFT JOIN LATERAL (SELECT * FROM messages l WHERE l.conversation_id OPERATOR(pg_catalog.=) c.id
                            ORDER BY l.position DESC LIMIT 1) m ON true
         WHERE ours.user_id OPERATOR(pg_catalog.=) $1 AND ours.is_active AND c.is_active
         ORDER BY coalesce(m.sent_at, c.updated_at) DESC, c.id LIMIT $2",
        message_columns!("m")
    )
}

/// Reads a column that our statements always return. It falls back to the default value, because
/// SQL of older versions may have stored NULL.
fn column_or_default<'r, T: FromSql<'r> + Default>(row: &'r Row, index: usize) -> T {
    row.try_get::<_, Option<T>>(index)
        .ok()
        .flatten()
        .unwrap_or_default()
}

impl StoredMessage {
    /// Reads the columns from index `at` on.
    pub(super) fn read(row: &Row, at: usize) -> Self {
        Self {
            id: column_or_default(row, at),
            conversation_id: column_or_default(row, at + 1),
            sender_id: column_or_default(row, at + 2),
            reply_to_id: row.try_get(at + 3).ok().flatten(),
            message_type: column_or_default(row, at + 4),
            content: column_or_default(row, at + 5),
            metadata: column_or_default(row, at + 6),
            client_random: column_or_default(row, at + 7),
            sent_at_us: column_or_default(row, at + 8),
            edited_at_us: row.try_get(at + 9).ok().flatten(),
            is_deleted: column_or_default(row, at + 10),
            delete_for_everyone: column_or_default(row, at + 11),
            delivery_status: column_or_default(row, at + 12),
        }
    }
}

impl StoredConversation {
    pub(super) fn read(row: &Row) -> Self {
        Self {
            id: column_or_default(row, 0),
            kind: column_or_default(row, 1),
            metadata: column_or_default(row, 2),
            is_active: column_or_default(row, 3),
        }
    }
}

impl ConversationSummary {
    pub(super) fn read(row: &Row) -> Self {
        let has_message = row.try_get::<_, Option<Uuid>>(8).ok().flatten().is_some();
        Self {
            conversation: StoredConversation::read(row),
            settings: column_or_default(row, 4),
            member_count: column_or_default(row, 5),
            unread_count: column_or_default(row, 6),
            updated_at_us: column_or_default(row, 7),
            last_message: has_message.then(|| StoredMessage::read(row, 8)),
        }
    }
}

impl WriteOutcome {
    pub(super) fn read_first(rows: &[Row]) -> Result<Self, DatabaseError> {
        let Some(row) = rows.first() else {
            return Err(DatabaseError::unfit(
                "a function of sql/apps/messaging.sql",
                "one row",
                "none",
            ));
        };
        Ok(match row.try_get::<_, Option<String>>(0).ok().flatten() {
            Some(reason) => Self::Rejected(reason),
            None => Self::Applied {
                message: Box::new(StoredMessage::read(row, 2)),
                is_new: column_or_default(row, 1),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_query_has_as_many_columns_as_are_read() {
        let text = messages_sql("x");
        let outside = text.split("CASE").next().unwrap_or_default();
        assert_eq!(outside.matches(", ").count() + 1, MESSAGE_COLUMN_COUNT);
    }
}
