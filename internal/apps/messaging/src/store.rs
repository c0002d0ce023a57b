//! The operations that a socket asks of the message store, and their responses.

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use latido_postgres::DatabaseError;
use latido_postgres::apps::messaging::{
    StoredConversation, MessageDraft, StoredMessage, MessagingDatabase, WriteOutcome, MessageReaction, ConversationSummary,
};

/// The largest number of pending messages that a join returns.
const PENDING: i64 = 50;

/// The periods in which a message may be retried, edited or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The period in which an identical message counts as a retry of the earlier one.
    pub retry: Duration,
    /// The period in which a message may be edited.
    pub edit: Duration,
    /// The period in which a message may be deleted.
    pub delete: Duration,
}

impl Default for Windows {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            retry: Duration::from_secs(600),
            edit: hours(24),
            delete: hours(48),
        }
    }
}

/// One operation on behalf of one user.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Loads the conversations and pending messages for a user's channel.
    Arrive,
    /// Loads a conversation and checks that the user is a member.
    Enter(Uuid),
    /// Stores a message in a conversation.
    Send(Uuid, Box<MessageDraft>),
    /// Edits a message; the fields are conversation, message, content, metadata.
    Edit(Uuid, Uuid, Vec<u8>, Option<String>),
    /// Deletes a message; the fields are conversation, message, «for everyone».
    Delete(Uuid, Uuid, bool),
    /// Records a receipt; the fields are conversation, message, and `true` for read or `false` for
    /// delivered.
    Receipt(Uuid, Uuid, bool),
    /// Adds or removes a reaction; the fields are conversation, message, reaction, and `true` to
    /// add.
    React(Uuid, Uuid, String, bool),
    /// Marks everything in these conversations as read.
    ReadAll(Vec<Uuid>),
    /// Lists the user's unread messages.
    Unread,
    /// Lists the user's conversations with their summaries.
    List,
}

/// The response of the store to one operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The user's conversations and pending messages.
    Arrived(Vec<ConversationSummary>, Vec<StoredMessage>),
    /// `true` if the conversation exists, and the conversation itself if the user is a member.
    Entered(bool, Option<StoredConversation>),
    /// The outcome of a send, an edit or a delete.
    Message(WriteOutcome),
    /// An operation without a result, with the reason if the store rejected it.
    Done(Option<String>),
    /// The reaction that was added, or the reason why the store rejected it.
    Reacted(Result<MessageReaction, String>),
    /// The number of messages marked per conversation; `None` if the user is not a member.
    Marked(Vec<(Uuid, Option<i64>)>),
    /// The user's unread messages.
    Messages(Vec<StoredMessage>),
    /// The user's conversations, with summaries.
    Conversations(Vec<ConversationSummary>),
}

/// The storage of messages, conversations and receipts.
pub trait Store: Send + Sync + 'static {
    /// Executes the operation as this user.
    fn call(
        &self,
        user: Uuid,
        operation: Operation,
        windows: Windows,
    ) -> BoxFuture<'static, Result<Answer, DatabaseError>>;
}

impl Store for MessagingDatabase {
    fn call(
        &self,
        user: Uuid,
        operation: Operation,
        windows: Windows,
    ) -> BoxFuture<'static, Result<Answer, DatabaseError>> {
        let store = self.clone();
        Box::pin(async move {
            Ok(match operation {
                Operation::Arrive => Answer::Arrived(
                    store.summaries(user).await?,
                    store.undelivered(user, PENDING).await?,
                ),
                Operation::Enter(id) => {
                    let (exists, conversation) = store.conversation(user, id).await?;
                    Answer::Entered(exists, conversation)
                }
                Operation::Send(id, draft) => {
                    Answer::Message(store.send(user, id, &draft, windows.retry).await?)
                }
                Operation::Edit(id, message, content, metadata) => {
                    let change = (content.as_slice(), metadata.as_deref());
                    Answer::Message(store.edit(user, id, message, change, windows.edit).await?)
                }
                Operation::Delete(id, message, everyone) => Answer::Message(
                    store
                        .delete(user, id, message, everyone, windows.delete)
                        .await?,
                ),
                Operation::Receipt(id, message, read) => {
                    Answer::Done(store.record_receipt(user, id, message, read).await?)
                }
                Operation::React(id, message, reaction, true) => {
                    Answer::Reacted(store.add_reaction(user, id, message, &reaction).await?)
                }
                Operation::React(id, message, reaction, false) => {
                    Answer::Done(store.remove_reaction(user, id, message, &reaction).await?)
                }
                Operation::ReadAll(ids) => {
                    let mut marked = Vec::with_capacity(ids.len());
                    for id in ids {
                        marked.push((id, store.mark_all_read(user, id).await?));
                    }
                    Answer::Marked(marked)
                }
                Operation::Unread => Answer::Messages(store.unread(user).await?),
                Operation::List => Answer::Conversations(store.summaries(user).await?),
            })
        })
    }
}
