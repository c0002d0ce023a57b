//! Conversations, messages, receipts and reactions: one statement an operation, each checked in the database itself.

mod changes;
mod rows;

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

pub use changes::{Change, Changes, Cursor};
pub use rows::{Conversation, Message, Outcome, Reaction, Summary};

use crate::postgres::pool::Params;
use crate::postgres::{Database, DatabaseError};

/// The tables, triggers and functions; safe to run again.
pub const SCHEMA: &str = include_str!("../../../../sql/apps/messaging.sql");

/// Most conversations that a list shows.
const MAX_CONVERSATIONS: i64 = 200;
/// Most unread messages that are given at once.
const MAX_UNREAD: i64 = 200;
/// Unread messages are counted no further.
const MAX_COUNTED: i64 = 1000;
/// Most contacts that are told of somebody's coming and going.
const MAX_CONTACTS: i64 = 5000;
/// So many users are named when their memberships are asked for.
const FEW_USERS: usize = 256;

/// A message to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// `text`, `media` or `system`.
    pub kind: String,
    /// As it is to be kept.
    pub content: Vec<u8>,
    /// JSON text of an object.
    pub metadata: String,
    /// The client's number, by which a retry is known.
    pub client_random: i32,
    /// The message of the same conversation that it answers.
    pub reply_to: Option<Uuid>,
    /// The sender's signature over it; kept, not judged.
    pub signature: Option<String>,
    /// The key of that signature.
    pub sender_public_key: Option<String>,
}

/// The store. Clones share it.
#[derive(Debug, Clone)]
pub struct Messages {
    database: Database,
}

/// A statement's values, with the types that the server is told.
macro_rules! values {
    ($($value:expr => $kind:ident),* $(,)?) => { &[$((&$value as &(dyn ToSql + Sync), Type::$kind)),*] };
}
use values;

impl Messages {
    /// On a database that may be written to ([`crate::postgres::Config::read_only`] off). A statement whose connection died is repeated
    /// once: all of them say the same when they are done twice, or that it was done.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    async fn rows(
        &self,
        what: &str,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.database.query(what, sql, params).await
    }

    async fn reason(
        &self,
        what: &str,
        sql: &str,
        params: &Params<'_>,
    ) -> Result<Option<String>, DatabaseError> {
        let rows = self.rows(what, sql, params).await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }

    /// Whether the schema is there and whole enough to work with.
    pub async fn check(&self) -> Result<(), DatabaseError> {
        let sql = "SELECT pg_current_snapshot()::text, id FROM messaging_changes ORDER BY id DESC LIMIT 1";
        self.rows("the messaging schema", sql, &[]).await.map(drop)
    }

    /// A conversation, if the user is one of its members: None of both, else; the flag tells whether it is there at all.
    pub async fn conversation(
        &self,
        user: Uuid,
        id: Uuid,
    ) -> Result<(bool, Option<Conversation>), DatabaseError> {
        let sql = "SELECT c.id, c.type, c.metadata::text, c.is_active, messaging_member($1, c.id) FROM conversations c WHERE c.id = $2";
        let rows = self
            .rows("a membership", sql, values![user => UUID, id => UUID])
            .await?;
        let Some(row) = rows.first() else {
            return Ok((false, None));
        };
        Ok((
            true,
            row.try_get(4)
                .unwrap_or(false)
                .then(|| Conversation::read(row)),
        ))
    }

    /// Stores a message, or finds the one that this is a retry of.
    pub async fn send(
        &self,
        user: Uuid,
        conversation: Uuid,
        draft: &Draft,
        retry: Duration,
    ) -> Result<Outcome, DatabaseError> {
        let sql = rows::outcome(
            "messaging_send($1, $2, $3, $4, $5::text::jsonb, $6, $7, $8, $9, make_interval(secs => $10))",
        );
        let params = values![
            user => UUID, conversation => UUID, draft.kind => TEXT, draft.content => BYTEA, draft.metadata => TEXT,
            draft.client_random => INT4, draft.reply_to => UUID, draft.signature => TEXT, draft.sender_public_key => TEXT,
            retry.as_secs_f64() => FLOAT8,
        ];
        Outcome::first(&self.rows("a message", &sql, params).await?)
    }

    /// Gives a message of the user's own another content, and other metadata (JSON text) if there are any.
    pub async fn edit(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        (content, metadata): (&[u8], Option<&str>),
        within: Duration,
    ) -> Result<Outcome, DatabaseError> {
        let sql = rows::outcome(
            "messaging_edit($1, $2, $3, $4, $5::text::jsonb, make_interval(secs => $6))",
        );
        let params = values![
            user => UUID, conversation => UUID, message => UUID, content => BYTEA, metadata => TEXT, within.as_secs_f64() => FLOAT8,
        ];
        Outcome::first(&self.rows("an edited message", &sql, params).await?)
    }

    /// Marks a message of the user's own as deleted.
    pub async fn delete(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        everyone: bool,
        within: Duration,
    ) -> Result<Outcome, DatabaseError> {
        let sql = rows::outcome("messaging_delete($1, $2, $3, $4, make_interval(secs => $5))");
        let params = values![user => UUID, conversation => UUID, message => UUID, everyone => BOOL, within.as_secs_f64() => FLOAT8];
        Outcome::first(&self.rows("a deleted message", &sql, params).await?)
    }

    /// Notes that the user got a message, or has read it. What it gives is why not.
    pub async fn receipt(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        read: bool,
    ) -> Result<Option<String>, DatabaseError> {
        let sql = "SELECT reason FROM messaging_receipt($1, $2, $3, $4)";
        self.reason(
            "a receipt",
            sql,
            values![user => UUID, conversation => UUID, message => UUID, read => BOOL],
        )
        .await
    }

    /// Marks everything in a conversation as read: how many messages. None: not a member.
    pub async fn read_all(
        &self,
        user: Uuid,
        conversation: Uuid,
    ) -> Result<Option<i64>, DatabaseError> {
        let sql = "SELECT messaging_read_all($1, $2)";
        let rows = self
            .rows(
                "a read conversation",
                sql,
                values![user => UUID, conversation => UUID],
            )
            .await?;
        Ok(rows.first().and_then(|row| row.try_get(0).ok().flatten()))
    }

    /// Adds a reaction; else why not.
    pub async fn react(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        reaction: &str,
    ) -> Result<Result<Reaction, String>, DatabaseError> {
        let sql = "SELECT reason, id, (extract(epoch FROM at) * 1000000)::bigint FROM messaging_react($1, $2, $3, $4)";
        let params = values![user => UUID, conversation => UUID, message => UUID, reaction => TEXT];
        let rows = self.rows("a reaction", sql, params).await?;
        let made = |row: &Row| {
            let (id, at_us) = (row.try_get(1).ok()?, row.try_get(2).ok()?);
            Some(Reaction {
                id,
                message_id: message,
                user_id: user,
                reaction: reaction.to_owned(),
                at_us,
            })
        };
        let reason = |row: &Row| row.try_get::<_, Option<String>>(0).ok().flatten();
        match rows.first().map(|row| (reason(row), made(row))) {
            Some((None, Some(reaction))) => Ok(Ok(reaction)),
            Some((Some(reason), _)) => Ok(Err(reason)),
            _ => Ok(Err("unavailable".to_owned())),
        }
    }

    /// Takes a reaction away; else why not.
    pub async fn unreact(
        &self,
        user: Uuid,
        conversation: Uuid,
        message: Uuid,
        reaction: &str,
    ) -> Result<Option<String>, DatabaseError> {
        let sql = "SELECT reason FROM messaging_unreact($1, $2, $3, $4)";
        self.reason(
            "a reaction",
            sql,
            values![user => UUID, conversation => UUID, message => UUID, reaction => TEXT],
        )
        .await
    }

    /// The user's conversations, the most recently active first.
    pub async fn summaries(&self, user: Uuid) -> Result<Vec<Summary>, DatabaseError> {
        let sql = rows::summaries();
        let params = values![user => UUID, MAX_CONVERSATIONS => INT8, MAX_COUNTED => INT8];
        let rows = self.rows("the conversations", &sql, params).await?;
        Ok(rows.iter().map(Summary::read).collect())
    }

    /// The newest messages to the user that nobody has said to have been delivered, at most so many, oldest first.
    pub async fn pending(&self, user: Uuid, most: i64) -> Result<Vec<Message>, DatabaseError> {
        self.missing("pending messages", "d.delivered_at IS NOT NULL", user, most)
            .await
    }

    /// The newest messages that the user has not read, oldest first.
    pub async fn unread(&self, user: Uuid) -> Result<Vec<Message>, DatabaseError> {
        self.missing("unread messages", "d.read_at IS NOT NULL", user, MAX_UNREAD)
            .await
    }

    async fn missing(
        &self,
        what: &str,
        done: &str,
        user: Uuid,
        most: i64,
    ) -> Result<Vec<Message>, DatabaseError> {
        let sql = rows::missing(done);
        let rows = self
            .rows(what, &sql, values![user => UUID, most => INT8])
            .await?;
        Ok(rows.iter().rev().map(|row| Message::read(row, 0)).collect())
    }

    /// These messages as they are now; those that are gone are absent.
    pub async fn messages(&self, ids: &[Uuid]) -> Result<Vec<Message>, DatabaseError> {
        let sql = rows::messages("messages m WHERE m.id = ANY($1)");
        let rows = self
            .rows("changed messages", &sql, values![ids => UUID_ARRAY])
            .await?;
        Ok(rows.iter().map(|row| Message::read(row, 0)).collect())
    }

    /// These conversations as they are now.
    pub async fn conversations(&self, ids: &[Uuid]) -> Result<Vec<Conversation>, DatabaseError> {
        let sql = "SELECT c.id, c.type, c.metadata::text, c.is_active FROM conversations c WHERE c.id = ANY($1)";
        let rows = self
            .rows("changed conversations", sql, values![ids => UUID_ARRAY])
            .await?;
        Ok(rows.iter().map(Conversation::read).collect())
    }

    /// The members of these conversations, as pairs of conversation and user; with few `users`, of these alone. With many it is cheaper
    /// to look at what comes than to send them all.
    pub async fn members(
        &self,
        conversations: &[Uuid],
        users: &[Uuid],
    ) -> Result<Vec<(Uuid, Uuid)>, DatabaseError> {
        let sql = "SELECT conversation_id, user_id FROM conversation_members
                   WHERE conversation_id = ANY($1) AND is_active AND ($2::uuid[] IS NULL OR user_id = ANY($2))";
        let few = (users.len() <= FEW_USERS).then_some(users);
        let rows = self
            .rows(
                "members",
                sql,
                values![conversations => UUID_ARRAY, few => UUID_ARRAY],
            )
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)))
            .collect())
    }

    /// Who shares a conversation with this user: at most 5,000.
    pub async fn contacts(&self, user: Uuid) -> Result<Vec<Uuid>, DatabaseError> {
        let sql = "SELECT DISTINCT theirs.user_id FROM conversation_members ours
                   JOIN conversation_members theirs USING (conversation_id)
                   WHERE ours.user_id = $1 AND ours.is_active AND theirs.is_active AND theirs.user_id <> $1
                   LIMIT $2";
        let rows = self
            .rows("contacts", sql, values![user => UUID, MAX_CONTACTS => INT8])
            .await?;
        Ok(rows.iter().filter_map(|row| row.try_get(0).ok()).collect())
    }
}
