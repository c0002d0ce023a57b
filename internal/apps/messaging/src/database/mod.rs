//! The message store: conversations, messages, receipts and reactions. Each operation is one
//! statement, and the database checks its permissions.

mod changes;
mod messaging_database;
mod rows;
mod schema;

pub use changes::ChangeCursor;
pub(crate) use changes::{ChangePage, MessagingChange};
pub use messaging_database::{MessageDraft, MessagingDatabase};
pub(crate) use rows::{ConversationSummary, MessageReaction, StoredConversation};
pub use rows::{ReactionOutcome, StoredMessage, WriteOutcome};
pub use schema::SCHEMA;
