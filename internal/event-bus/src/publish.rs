//! Publishing: a message with its recipients, and the outcome.

use std::sync::Arc;

use crate::{ConnectionId, EventMessage, TopicName};
use latido_base::ident::UserId;

/// A message with its recipients: the members of all its topics, without the exceptions.
#[derive(Debug, Clone)]
pub struct Publish {
    pub(super) topics: Vec<TopicName>,
    pub(super) except_connection: Option<ConnectionId>,
    pub(super) except_user: Option<UserId>,
    pub(super) message: EventMessage,
}

impl Publish {
    /// Creates a message for the members of `topics`. `payload` must be JSON text.
    pub fn new(
        topics: impl IntoIterator<Item = TopicName>,
        name: impl Into<Arc<str>>,
        payload: impl Into<Arc<str>>,
    ) -> Self {
        let message = EventMessage {
            name: name.into(),
            payload: payload.into(),
            sender: None,
        };
        Self {
            topics: topics.into_iter().collect(),
            except_connection: None,
            except_user: None,
            message,
        }
    }

    /// Excludes this connection from the recipients.
    #[must_use]
    pub fn except_connection(mut self, id: ConnectionId) -> Self {
        self.except_connection = Some(id);
        self
    }

    /// Excludes all connections of this user from the recipients.
    #[must_use]
    pub fn except_user(mut self, user: UserId) -> Self {
        self.except_user = Some(user);
        self
    }

    /// Sets the user who sent the message.
    #[must_use]
    pub fn with_sender(mut self, user: UserId) -> Self {
        self.message.sender = Some(user);
        self
    }
}

/// The outcome of publishing an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishReceipt {
    /// The event's sequence number on its bus.
    pub seq: u64,
    /// The number of connections for which the event was queued.
    pub reached: usize,
}

/// The error for a shard that does not take its events. The event was neither delivered nor
/// recorded. The app should answer 503, and the client may publish again later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard is too far behind; publish again later")]
pub struct Overloaded;
