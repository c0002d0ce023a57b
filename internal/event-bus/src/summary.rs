//! Overviews of an event bus, its topics and its connections.

use std::sync::Arc;

use crate::{ConnectionId, Identity, PresenceCounts, TopicName};

/// The current state of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// The topic's name on its bus.
    pub name: TopicName,
    /// The number of its users and connections.
    pub counts: PresenceCounts,
    /// The time when the topic opened, in microseconds since the Unix epoch.
    pub opened_us: i64,
    /// The time of the last message, or of the opening if there is none, in microseconds since the
    /// Unix epoch.
    pub active_us: i64,
}

/// The current state of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSummary {
    /// The id of the connection.
    pub id: ConnectionId,
    /// The current identity of the connection.
    pub identity: Arc<Identity>,
    /// The topics it has joined, in no particular order.
    pub topics: Vec<TopicName>,
    /// The time when it connected, in microseconds since the Unix epoch.
    pub connected_us: i64,
}

/// The totals of an event bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusTotals {
    /// The number of open connections.
    pub connections: usize,
    /// The number of different users.
    pub users: usize,
    /// The number of topics that have a member or retain their history.
    pub topics: usize,
}
