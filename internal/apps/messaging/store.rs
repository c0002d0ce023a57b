//! What a socket asks of the store, and what it hears.

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::postgres::DatabaseError;
use crate::postgres::apps::messaging::{
    Conversation, Draft, Message, Messages, Outcome, Reaction, Summary,
};

/// Pending messages that a join brings.
const PENDING: i64 = 50;

/// How long things may be done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// A message like one before is its retry for so long.
    pub retry: Duration,
    /// Messages may be edited for so long.
    pub edit: Duration,
    /// And deleted.
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

/// One operation of one user.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// What a user's channel brings when it is joined.
    Arrive,
    /// Whether the user is a member.
    Enter(Uuid),
    /// Store a message in a conversation.
    Send(Uuid, Box<Draft>),
    /// Change one: conversation, message, content, metadata.
    Edit(Uuid, Uuid, Vec<u8>, Option<String>),
    /// Delete one: conversation, message, for everyone.
    Delete(Uuid, Uuid, bool),
    /// It came: conversation, message; or it was read.
    Receipt(Uuid, Uuid, bool),
    /// React: conversation, message, with what; or take it back.
    React(Uuid, Uuid, String, bool),
    /// Everything in these was read.
    ReadAll(Vec<Uuid>),
    /// What is unread?
    Unread,
    /// Which conversations are there?
    List,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Conversations, and pending messages.
    Arrived(Vec<Summary>, Vec<Message>),
    /// Whether it is there, and itself, for a member.
    Entered(bool, Option<Conversation>),
    /// A message.
    Message(Outcome),
    /// Nothing to tell but, perhaps, why not.
    Done(Option<String>),
    /// A reaction, or why not.
    Reacted(Result<Reaction, String>),
    /// How many in each; None: not a member.
    Marked(Vec<(Uuid, Option<i64>)>),
    /// Messages.
    Messages(Vec<Message>),
    /// Conversations.
    Conversations(Vec<Summary>),
}

/// What keeps messages.
pub trait Store: Send + Sync + 'static {
    /// Does it, as this user.
    fn call(
        &self,
        user: Uuid,
        operation: Operation,
        windows: Windows,
    ) -> BoxFuture<'static, Result<Answer, DatabaseError>>;
}

impl Store for Messages {
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
                    store.pending(user, PENDING).await?,
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
                    Answer::Done(store.receipt(user, id, message, read).await?)
                }
                Operation::React(id, message, reaction, true) => {
                    Answer::Reacted(store.react(user, id, message, &reaction).await?)
                }
                Operation::React(id, message, reaction, false) => {
                    Answer::Done(store.unreact(user, id, message, &reaction).await?)
                }
                Operation::ReadAll(ids) => {
                    let mut marked = Vec::with_capacity(ids.len());
                    for id in ids {
                        marked.push((id, store.read_all(user, id).await?));
                    }
                    Answer::Marked(marked)
                }
                Operation::Unread => Answer::Messages(store.unread(user).await?),
                Operation::List => Answer::Conversations(store.summaries(user).await?),
            })
        })
    }
}
