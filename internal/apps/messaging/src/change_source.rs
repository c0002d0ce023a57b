//! The reads of the change feed and of presence.

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::database::{
    ChangeCursor, ChangePage, MessagingDatabase, StoredConversation, StoredMessage,
};
use latido_postgres::DatabaseError;

/// A pending response of the database.
pub(super) type SourceFuture<'a, T> = BoxFuture<'a, Result<T, DatabaseError>>;

/// The database queries of the change feed.
pub(crate) trait ChangeSource: Send + Sync + 'static {
    /// Returns a cursor that is past all committed changes.
    fn cursor(&self) -> SourceFuture<'_, ChangeCursor>;
    /// Returns the next batch of changes after the cursor.
    fn changes<'a>(&'a self, cursor: &'a ChangeCursor) -> SourceFuture<'a, ChangePage>;
    /// Returns these messages in their current state.
    fn messages<'a>(&'a self, ids: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredMessage>>;
    /// Returns these conversations in their current state.
    fn conversations<'a>(&'a self, ids: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredConversation>>;
    /// Returns pairs of conversation and member. The result contains at least the members that are
    /// among `users`.
    fn members<'a>(
        &'a self,
        conversations: &'a [Uuid],
        users: &'a [Uuid],
    ) -> SourceFuture<'a, Vec<(Uuid, Uuid)>>;
    /// Returns the users that share a conversation with this user.
    fn contacts(&self, user: Uuid) -> SourceFuture<'_, Vec<Uuid>>;
    /// Deletes changes that no feed needs any more.
    fn delete_old_changes(&self) -> SourceFuture<'_, ()>;
}

impl ChangeSource for MessagingDatabase {
    fn cursor(&self) -> SourceFuture<'_, ChangeCursor> {
        Box::pin(Self::cursor(self))
    }
    fn changes<'a>(&'a self, cursor: &'a ChangeCursor) -> SourceFuture<'a, ChangePage> {
        Box::pin(Self::changes(self, cursor))
    }
    fn messages<'a>(&'a self, ids: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredMessage>> {
        Box::pin(Self::messages(self, ids))
    }
    fn conversations<'a>(&'a self, ids: &'a [Uuid]) -> SourceFuture<'a, Vec<StoredConversation>> {
        Box::pin(Self::conversations(self, ids))
    }
    fn members<'a>(
        &'a self,
        conversations: &'a [Uuid],
        users: &'a [Uuid],
    ) -> SourceFuture<'a, Vec<(Uuid, Uuid)>> {
        Box::pin(Self::members(self, conversations, users))
    }
    fn contacts(&self, user: Uuid) -> SourceFuture<'_, Vec<Uuid>> {
        Box::pin(Self::contacts(self, user))
    }
    fn delete_old_changes(&self) -> SourceFuture<'_, ()> {
        Box::pin(Self::delete_old_changes(self))
    }
}
