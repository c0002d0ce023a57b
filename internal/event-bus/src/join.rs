//! Requests to join topics, and their outcome.

use std::sync::Arc;

use crate::TopicName;

/// The maximum number of topics of one connection, including those that the app joins for it. Apps
/// have lower limits for the topics that clients request.
pub const MAX_TOPICS: usize = 512;

/// A request to join a topic, with the metadata of the connection's presence entry.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The name of the topic to join.
    pub topic: TopicName,
    /// The metadata as JSON text, shown in presence lists. It has no effect on a topic without
    /// presence. `None` stands for an empty object.
    pub with_meta: Option<Arc<str>>,
}

impl JoinRequest {
    /// Creates a request without metadata, which takes no memory.
    pub fn new(topic: TopicName) -> Self {
        Self {
            topic,
            with_meta: None,
        }
    }

    /// Sets the metadata, a JSON text.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Arc<str>>) -> Self {
        self.with_meta = Some(meta.into());
        self
    }
}

/// The outcome of joining topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinOutcome {
    /// The number of topics that the connection was not on before.
    pub new_topics: usize,
    /// The number of the last event before the join. All later events are delivered.
    pub seq: u64,
}

/// The reason why a connection could not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The connection has ended before the request.
    #[error("the connection is gone")]
    Disconnected,
    /// The connection would be on more than [`MAX_TOPICS`]. It has joined none of the new ones.
    #[error("too many topics on one connection")]
    TooManyTopics,
}
