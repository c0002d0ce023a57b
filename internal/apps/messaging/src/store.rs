//! The operations that a socket asks of the message store, and their responses.

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::database::{
    ConversationSummary, MessageDraft, MessagingDatabase, ReactionOutcome, StoredConversation,
    StoredMessage, WriteOutcome,
};
use latido_postgres::DatabaseError;

/// The largest number of pending messages that a join returns.
const MAX_PENDING_MESSAGES: i64 = 50;

/// The default period in which an identical message counts as a retry.
pub(super) const RETRY_WINDOW: Duration = Duration::from_secs(600);

/// The periods in which a message may be retried, edited or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageWindows {
    /// The period in which an identical message counts as a retry of the earlier one.
    pub retry: Duration,
    /// The period in which a message may be edited.
    pub edit: Duration,
    /// The period in which a message may be deleted.
    pub delete: Duration,
}

impl Default for MessageWindows {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            retry: RETRY_WINDOW,
            edit: hours(24),
            delete: hours(48),
        }
    }
}

/// One operation on behalf of one user.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreOperation {
    /// Loads the conversations and pending messages for a user's channel.
    SyncUser,
    /// Loads a conversation and checks that the user is a member.
    CheckMembership(Uuid),
    /// Stores a message in a conversation.
    Send(Uuid, Box<MessageDraft>),
    /// Edits a message; the fields are conversation, message, content, metadata.
    Edit(Uuid, Uuid, Vec<u8>, Option<String>),
    /// Deletes a message; the fields are conversation, message, «for everyone».
    Delete(Uuid, Uuid, bool),
    /// Records a receipt; the fields are conversation, message, and `true` for read or `false` for
    /// delivered.
    RecordReceipt(Uuid, Uuid, bool),
    /// Adds or removes a reaction; the fields are conversation, message, reaction, and `true` to
    /// add.
    React(Uuid, Uuid, String, bool),
    /// Marks everything in these conversations as read.
    MarkAllRead(Vec<Uuid>),
    /// Lists the user's unread messages.
    ListUnread,
    /// Lists the user's conversations with their summaries.
    ListConversations,
}

/// The response of the store to one operation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoreResponse {
    /// The user's conversations and pending messages.
    UserSync(Vec<ConversationSummary>, Vec<StoredMessage>),
    /// `true` if the conversation exists, and the conversation itself if the user is a member.
    Membership(bool, Option<StoredConversation>),
    /// The outcome of a send, an edit or a delete.
    Message(WriteOutcome),
    /// An operation without a result, with the reason if the store rejected it.
    Done(Option<String>),
    /// The outcome of adding a reaction.
    Reaction(ReactionOutcome),
    /// The number of messages marked per conversation; `None` if the user is not a member.
    MarkedRead(Vec<(Uuid, Option<i64>)>),
    /// The user's unread messages.
    Messages(Vec<StoredMessage>),
    /// The user's conversations, with summaries.
    Conversations(Vec<ConversationSummary>),
}

/// The storage of messages, conversations and receipts.
pub(crate) trait MessageStore: Send + Sync + 'static {
    /// Executes the operation as this user.
    fn execute(
        &self,
        user: Uuid,
        operation: StoreOperation,
        windows: MessageWindows,
    ) -> BoxFuture<'static, Result<StoreResponse, DatabaseError>>;
}

impl MessageStore for MessagingDatabase {
    fn execute(
        &self,
        user: Uuid,
        operation: StoreOperation,
        windows: MessageWindows,
    ) -> BoxFuture<'static, Result<StoreResponse, DatabaseError>> {
        let store = self.clone();
        Box::pin(async move {
            Ok(match operation {
                StoreOperation::SyncUser => StoreResponse::UserSync(
                    store.summaries(user).await?,
                    store.undelivered(user, MAX_PENDING_MESSAGES).await?,
                ),
                StoreOperation::CheckMembership(id) => {
                    let (exists, conversation) = store.conversation(user, id).await?;
                    StoreResponse::Membership(exists, conversation)
                }
                StoreOperation::Send(id, draft) => {
                    StoreResponse::Message(store.send(user, id, &draft, windows.retry).await?)
                }
                StoreOperation::Edit(id, message, content, metadata) => {
                    let change = (content.as_slice(), metadata.as_deref());
                    StoreResponse::Message(
                        store.edit(user, id, message, change, windows.edit).await?,
                    )
                }
                StoreOperation::Delete(id, message, everyone) => StoreResponse::Message(
                    store
                        .delete(user, id, message, everyone, windows.delete)
                        .await?,
                ),
                StoreOperation::RecordReceipt(id, message, read) => {
                    StoreResponse::Done(store.record_receipt(user, id, message, read).await?)
                }
                StoreOperation::React(id, message, reaction, true) => {
                    StoreResponse::Reaction(store.add_reaction(user, id, message, &reaction).await?)
                }
                StoreOperation::React(id, message, reaction, false) => {
                    StoreResponse::Done(store.remove_reaction(user, id, message, &reaction).await?)
                }
                StoreOperation::MarkAllRead(ids) => {
                    let mut marked = Vec::with_capacity(ids.len());
                    for id in ids {
                        marked.push((id, store.mark_all_read(user, id).await?));
                    }
                    StoreResponse::MarkedRead(marked)
                }
                StoreOperation::ListUnread => StoreResponse::Messages(store.unread(user).await?),
                StoreOperation::ListConversations => {
                    StoreResponse::Conversations(store.summaries(user).await?)
                }
            })
        })
    }
}
