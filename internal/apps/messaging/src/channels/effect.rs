//! The effects of a channel session, and its errors.

use serde_json::{Value, json};

use crate::api_version::ClientApiVersion;
use crate::store::StoreOperation;
use latido_protocol::phoenix::Push;

/// One effect for the connection to carry out, in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ChannelEffect {
    /// Sends this text frame to the client.
    SendText(String),
    /// Executes this operation and passes its result to `ChannelSession::on_result`.
    Execute(StoreOperation),
    /// Subscribes the connection to a channel's topics.
    Subscribe(Box<str>),
    /// Unsubscribes the connection from a channel's topics.
    Unsubscribe(Box<str>),
    /// Moves the subscriptions to another API version than the assumed one.
    SwitchVersion(ClientApiVersion),
    /// Publishes that the user types in this conversation, or has stopped.
    Typing(Box<str>, bool),
    /// Sets the status that the user wants to show, unless that happens too often, and replies to
    /// the push if there is one (`ChannelSession::status_reply`).
    SetStatus(String, Option<Box<Push>>),
    /// Closes the connection with this code and reason.
    Close(u16, &'static str),
}

/// The payload of an error reply: a reason code, or the invalid fields, or both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ErrorPayload(pub(super) Value);

/// The reason why an operation has no response from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationError {
    /// The database is unreachable or rejects the operation.
    Unavailable,
    /// The server has too many operations in progress.
    Overloaded,
    /// The user has sent too many messages. The field is the number of seconds until the next one
    /// is allowed.
    RateLimited(i64),
}

/// Builds the payload with a reason code.
pub(super) fn error_reason(reason: &str) -> ErrorPayload {
    ErrorPayload(json!({"reason": reason}))
}
