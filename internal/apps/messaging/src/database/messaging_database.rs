//! The statements of the message store.

use std::time::Duration;

use latido_postgres::{Database, DatabaseError, Row, ToSql, Type, TypedParams};
use uuid::Uuid;

use crate::database::rows::{
    self, ConversationSummary, MessageReaction, ReactionOutcome, StoredConversation, StoredMessage,
    WriteOutcome,
};

/// The maximum number of conversations in a list.
const MAX_CONVERSATIONS: i64 = 200;
/// The maximum number of unread messages in one response.
const MAX_UNREAD: i64 = 200;
/// The value at which counting of unread messages stops.
const MAX_UNREAD_COUNT: i64 = 1000;
/// The maximum number of contacts that are notified about a user's presence.
const MAX_CONTACTS: i64 = 5000;
/// The maximum number of users that are passed as a filter to a query for members.
const MAX_FILTERED_USERS: usize = 256;

/// A message that a client wants to store.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageDraft {
    /// The message type: `text`, `media` or `system`.
    pub kind: String,
    /// The content as stored in the database.
    pub content: Vec<u8>,
    /// The metadata as JSON text of an object.
    pub metadata: String,
    /// The number that the client chose. It identifies a retry.
    pub client_random: i32,
    /// The message of the same conversation that this one replies to.
    pub reply_to: Option<Uuid>,
    /// The sender's signature of the message. It is stored but not verified.
    pub signature: Option<String>,
    /// The public key that belongs to the signature.
    pub sender_public_key: Option<String>,
}

/// The message store. Clones share the same database pool.
#[derive(Debug, Clone)]
pub struct MessagingDatabase {
    database: Database,
}

/// Builds query parameters with their explicit PostgreSQL types.
macro_rules! values {
    ($($value:expr => $kind:ident),* $(,)?) => { &[$((&$value as &(dyn ToSql + Sync), Type::$kind)),*] };
}
pub(super) use values;

impl MessagingDatabase {
    /// Creates the store. The database must allow writes ([`Database::writer`]). A statement whose connection broke is repeated once: all statements either have the
    /// same result when run twice, or report that the work was already done.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    pub(super) async fn query(
        &self,
        label: &str,
        sql: &str,
        params: &TypedParams<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.database.query(label, sql, params).await
    }

    async fn query_reason(
        &self,
        label: &str,
        sql: &str,
        params: &TypedParams<'_>,
    ) -> Result<Option<String>, DatabaseError> {
        let rows = self.query(label, sql, params).await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }

    /// Checks that the messaging schema exists and can be queried.
    pub async fn check_schema(&self) -> Result<(), DatabaseError> {
        let sql = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, id FROM messaging_changes ORDER BY id DESC LIMIT 1";
        self.query("the messaging schema", sql, &[]).await?;
        let sql = "SELECT id FROM messaging_notifications LIMIT 1";
        self.query("the messaging schema", sql, &[]).await.map(drop)
    }

    /// Sends a notification, a JSON text of an object, to a user. The same id twice is the same
    /// notification.
    pub async fn notify(&self, id: Uuid, user: Uuid, payload: &str) -> Result<(), DatabaseError> {
        let sql = "INSERT INTO messaging_notifications (id, user_id, payload)
                   VALUES ($1, $2, $3::pg_catalog.text::pg_catalog.json) ON CONFLICT DO NOTHING";
        let params = values![id => UUID, user => UUID, payload => TEXT];
        self.query("a notification", sql, params).await.map(drop)
    }

    /// Returns a conversation if the user is a member of it. The flag is `true` if the conversation
    /// exists at all.
    pub async fn conversation(
        &self,
        user: Uuid,
        id: Uuid,
    ) -> Result<(bool, Option<StoredConversation>), DatabaseError> {
        let sql = "SELECT c.id, c.type, c.metadata::pg_catalog.text, c.is_active, messaging_member($1, c.id)
                   FROM conversations c WHERE c.id OPERATOR(pg_catalog.=) $2";
        let rows = self
            .query("a membership", sql, values![user => UUID, id => UUID])
            .await?;
        let Some(row) = rows.first() else {
            return Ok((false, None));
        };
        Ok((
            true,
            row.try_get(4)
                .unwrap_or(false)
                .then(|| StoredConversation::read(row)),
        ))
    }

    /// Stores a message, or returns the stored one if this is a retry.
    pub async fn send(
        &self,
        user: Uuid,
        conversation: Uuid,
        draft: &MessageDraft,
        retry: Duration,
    ) -> Result<WriteOutcome, DatabaseError> {
        let sql = rows::outcome_sql(
            "messaging_send($1, $2, $3, $4, $5::pg_catalog.text::pg_catalog.jsonb, $6, $7, $8, $9, pg_catalog.make_interval(secs => $10))",
        );
        let params = values![
            user => UUID, conversation => UUID, draft.kind => TEXT, draft.content => BYTEA, draft.metadata => TEXT,
            draft.client_random => INT4, draft.reply_to => UUID, draft.signature => TEXT, draft.sender_public_key => TEXT,
            retry.as_secs_f64() => FLOAT8,
        ];
        WriteOutcome::read_first(&self.query("a message", &sql, params).await?)
    }

    /// Replaces the content of the user's own message, and its metadata (JSON text) if given.
    pub async fn edit(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        (content, metadata): (&[u8], Option<&str>),
        within: Duration,
    ) -> Result<WriteOutcome, DatabaseError> {
        let sql = rows::outcome_sql(
            "messaging_edit($1, $2, $3, $4, $5::pg_catalog.text::pg_catalog.jsonb, pg_catalog.make_interval(secs => $6))",
        );
        let params = values![
            user => UUID, conversation => UUID, message => UUID, content => BYTEA, metadata => TEXT, within.as_secs_f64() => FLOAT8,
        ];
        WriteOutcome::read_first(&self.query("an edited message", &sql, params).await?)
    }

    /// Marks the user's own message as deleted.
    pub async fn delete(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        everyone: bool,
        within: Duration,
    ) -> Result<WriteOutcome, DatabaseError> {
        let sql = rows::outcome_sql(
            "messaging_delete($1, $2, $3, $4, pg_catalog.make_interval(secs => $5))",
        );
        let params = values![user => UUID, conversation => UUID, message => UUID, everyone => BOOL, within.as_secs_f64() => FLOAT8];
        WriteOutcome::read_first(&self.query("a deleted message", &sql, params).await?)
    }

    /// Records that a message was delivered to the user, or read. Returns the reason if the
    /// database refuses.
    pub async fn record_receipt(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        read: bool,
    ) -> Result<Option<String>, DatabaseError> {
        let sql = "SELECT reason FROM messaging_receipt($1, $2, $3, $4)";
        self.query_reason(
            "a receipt",
            sql,
            values![user => UUID, conversation => UUID, message => UUID, read => BOOL],
        )
        .await
    }

    /// Marks all messages of a conversation as read. Returns their number, or `None` if the user is
    /// not a member.
    pub async fn mark_all_read(
        &self,
        user: Uuid,
        conversation: Uuid,
    ) -> Result<Option<i64>, DatabaseError> {
        let sql = "SELECT messaging_read_all($1, $2)";
        let rows = self
            .query(
                "a read conversation",
                sql,
                values![user => UUID, conversation => UUID],
            )
            .await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }

    /// Adds a reaction.
    pub async fn add_reaction(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        reaction: &str,
    ) -> Result<ReactionOutcome, DatabaseError> {
        let sql = "SELECT reason, id, (extract(epoch FROM at) OPERATOR(pg_catalog.*) 1000000)::bigint FROM messaging_react($1, $2, $3, $4)";
        let params = values![user => UUID, conversation => UUID, message => UUID, reaction => TEXT];
        let rows = self.query("a reaction", sql, params).await?;
        let read_reaction = |row: &Row| {
            let (id, at_us) = (row.try_get(1).ok()?, row.try_get(2).ok()?);
            Some(MessageReaction {
                id,
                message_id: message,
                user_id: user,
                reaction: reaction.to_owned(),
                at_us,
            })
        };
        let reason = |row: &Row| row.try_get::<_, Option<String>>(0).ok().flatten();
        match rows.first().map(|row| (reason(row), read_reaction(row))) {
            Some((None, Some(reaction))) => Ok(ReactionOutcome::Added(reaction)),
            Some((Some(reason), _)) => Ok(ReactionOutcome::Rejected(reason)),
            _ => Ok(ReactionOutcome::Rejected("unavailable".to_owned())),
        }
    }

    /// Removes a reaction. Returns the reason if the database refuses.
    pub async fn remove_reaction(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        reaction: &str,
    ) -> Result<Option<String>, DatabaseError> {
        let sql = "SELECT reason FROM messaging_unreact($1, $2, $3, $4)";
        self.query_reason(
            "a reaction",
            sql,
            values![user => UUID, conversation => UUID, message => UUID, reaction => TEXT],
        )
        .await
    }

    /// Lists the user's conversations, the most recently active first.
    pub async fn summaries(&self, user: Uuid) -> Result<Vec<ConversationSummary>, DatabaseError> {
        let sql = rows::summaries_sql();
        let params = values![user => UUID, MAX_CONVERSATIONS => INT8, MAX_UNREAD_COUNT => INT8];
        let rows = self.query("the conversations", &sql, params).await?;
        Ok(rows.iter().map(ConversationSummary::read).collect())
    }

    /// Returns the newest messages to the user without a delivery receipt, at most `most`, oldest
    /// first.
    pub async fn undelivered(
        &self,
        user: Uuid,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, DatabaseError> {
        self.messages_without_receipt(
            "pending messages",
            "d.delivered_at IS NOT NULL",
            user,
            limit,
        )
        .await
    }

    /// Returns the newest messages that the user has not read, oldest first.
    pub async fn unread(&self, user: Uuid) -> Result<Vec<StoredMessage>, DatabaseError> {
        self.messages_without_receipt("unread messages", "d.read_at IS NOT NULL", user, MAX_UNREAD)
            .await
    }

    async fn messages_without_receipt(
        &self,
        label: &str,
        done: &str,
        user: Uuid,
        limit: i64,
    ) -> Result<Vec<StoredMessage>, DatabaseError> {
        let sql = rows::messages_without_receipt_sql(done);
        let rows = self
            .query(label, &sql, values![user => UUID, limit => INT8])
            .await?;
        Ok(rows
            .iter()
            .rev()
            .map(|row| StoredMessage::read(row, 0))
            .collect())
    }

    /// Returns the current state of these messages. Deleted rows are absent.
    pub async fn messages(&self, ids: &[Uuid]) -> Result<Vec<StoredMessage>, DatabaseError> {
        let sql = rows::messages_sql("messages m WHERE m.id OPERATOR(pg_catalog.=) ANY ($1)");
        let rows = self
            .query("changed messages", &sql, values![ids => UUID_ARRAY])
            .await?;
        Ok(rows.iter().map(|row| StoredMessage::read(row, 0)).collect())
    }

    /// Returns the current state of these conversations.
    pub async fn conversations(
        &self,
        ids: &[Uuid],
    ) -> Result<Vec<StoredConversation>, DatabaseError> {
        let sql = "SELECT c.id, c.type, c.metadata::pg_catalog.text, c.is_active
                   FROM conversations c WHERE c.id OPERATOR(pg_catalog.=) ANY ($1)";
        let rows = self
            .query("changed conversations", sql, values![ids => UUID_ARRAY])
            .await?;
        Ok(rows.iter().map(StoredConversation::read).collect())
    }

    /// Returns the members of these conversations, as pairs of conversation and user. With few
    /// `users` the query returns only these. With many, filtering the result is cheaper than
    /// sending all their ids.
    pub async fn members(
        &self,
        conversations: &[Uuid],
        users: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid)>, DatabaseError> {
        let sql = "SELECT conversation_id, user_id FROM conversation_members
                   WHERE conversation_id OPERATOR(pg_catalog.=) ANY ($1) AND is_active
                     AND ($2::pg_catalog.uuid[] IS NULL OR user_id OPERATOR(pg_catalog.=) ANY ($2))";
        let filter = (users.len() <= MAX_FILTERED_USERS).then_some(users);
        let rows = self
            .query(
                "members",
                sql,
                values![conversations => UUID_ARRAY, filter => UUID_ARRAY],
            )
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)))
            .collect())
    }

    /// Returns the users that share a conversation with this user, at most 5,000.
    pub async fn contacts(&self, user: Uuid) -> Result<Vec<Uuid>, DatabaseError> {
        let sql = "SELECT DISTINCT theirs.user_id FROM conversation_members ours
                   JOIN conversation_members theirs ON theirs.conversation_id OPERATOR(pg_catalog.=) ours.conversation_id
                   WHERE ours.user_id OPERATOR(pg_catalog.=) $1 AND ours.is_active AND theirs.is_active
                     AND theirs.user_id OPERATOR(pg_catalog.<>) $1
                   LIMIT $2";
        let rows = self
            .query("contacts", sql, values![user => UUID, MAX_CONTACTS => INT8])
            .await?;
        Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    }
}
