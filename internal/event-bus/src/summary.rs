//! Outcomes and summaries of an event bus.

use std::sync::Arc;

use crate::event::TopicName;
use crate::identity::{ConnectionId, Identity};
use crate::presence::PresenceCounts;

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
