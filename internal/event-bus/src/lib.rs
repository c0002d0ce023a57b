//! Event topics: connections, their topics, and the events published there.
//!
//! Only the newest frame of a state topic ([`latido_hub::Hub`]) matters. The events of an event
//! topic all matter: every member gets every event, once and in order, or is disconnected as too
//! slow. The two share no lock and no data structure, so clients without event topics pay nothing
//! for them.
//!
//! An event bus belongs to one tenant. Names, users, recipients and the order never reach beyond
//! it, so nothing can leak between two apps, and neither waits for the other. A *connection* runs
//! as a Tokio task and has a [`Mailbox`], or it lives on a shard and is reached through the shard's
//! [`EventQueue`]. The app decides which connection may join or publish. A topic such as «all users
//! of a role» is one that the app joins for a connection when it connects or gets an identity.
//!
//! **One lock**, because the order is the point. Presence and messages on any topics reach any
//! connection in the order in which they happened, and a presence list fits between two events
//! without a gap. A lock per topic could not give that to a union of topics. The lock is held for
//! look-ups and pushes, never across a system call: tasks and shards are woken after it is
//! released.
//!
//! The lock order: below the lock of the event bus are the locks of the mailboxes and of the
//! shards' event queues. Each is held for one push or one pop, and no code that holds one of them
//! takes another.

mod connections;
mod delivery_batch;
mod event;
mod history;
mod mailbox;
mod presence;
mod shard_queue;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use latido_base::ident::UserId;

use connections::DeliveryTarget;
pub use delivery_batch::{ClientDelivery, DeliveryBatch, EncodeFn, EventBacklog, SlowConsumer};
pub use event::{BusEvent, EncodingId, EventBody, EventMessage, Publish, TopicName};
pub use history::HistorySlice;
pub use mailbox::{DisconnectReason, MAX_MAILBOX_EVENTS, Mailbox};
pub use presence::{
    PresenceChange, PresenceCounts, PresenceDiff, PresenceEntry, PresenceMode, PresentUser,
};
pub use shard_queue::{
    ConnectionSlot, Delivery, DrainedQueue, EventQueue, MAX_QUEUE_BYTES, MAX_QUEUE_EVENTS,
};
use state::{BusState, PendingWakes};

/// The maximum number of topics of one connection, including those that the app joins for it. Apps
/// have lower limits for the topics that clients request.
pub const MAX_TOPICS: usize = 512;

/// The id of a connection of an event bus. Ids are never reused, even when another connection takes
/// the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    index: u32,
    generation: u32,
}

/// The identity of a connection's user. An authenticator builds it; none of it is a client's own
/// claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user, or `None` until the connection is identified. Without a user it appears on no
    /// presence list.
    pub user: Option<UserId>,
    /// The device or session, if the system has them.
    pub session: Option<Arc<str>>,
    /// The role, if the system has roles.
    pub role: Option<Arc<str>>,
}

/// A request to join a topic, with the metadata of the connection's presence entry.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The name of the topic to join.
    pub topic: TopicName,
    /// The metadata as JSON text, shown in presence lists. It has no effect on a topic without
    /// presence.
    pub with_meta: Arc<str>,
}

impl JoinRequest {
    /// Creates a request without metadata (an empty object).
    pub fn new(topic: TopicName) -> Self {
        Self {
            topic,
            with_meta: "{}".into(),
        }
    }

    /// Sets the metadata, a JSON text.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Arc<str>>) -> Self {
        self.with_meta = meta.into();
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

/// The rules of an app for its topics. The bus calls them under its lock: they must answer from
/// their arguments, at once, and must not call back into the bus.
pub trait TopicPolicy: Send + Sync {
    /// Returns the presence mode of a topic. The bus calls it when the topic opens.
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode;

    /// Returns messages to publish because the presence list of a topic changed. They are delivered
    /// right after the change, before any later event. They cannot be refused, so each change
    /// should cause only a few.
    fn on_presence_change(&self, topic: &TopicName, diff: &PresenceDiff) -> Vec<Publish>;
}

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

/// The event topics of one tenant; see the module's documentation.
pub struct EventBus {
    state: Mutex<BusState>,
}

impl EventBus {
    /// Creates an empty event bus. `now_us` returns the time in microseconds since the Unix epoch.
    pub fn new(
        policy: impl TopicPolicy + 'static,
        now_us: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            state: Mutex::new(BusState::new(Box::new(policy), Box::new(now_us))),
        }
    }

    /// Adds a connection that runs as a Tokio task and joins these topics. Dropping the mailbox
    /// removes the connection.
    pub fn connect(
        self: &Arc<Self>,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<Mailbox, JoinError> {
        let (id, queue) =
            self.with_state(|state, wakes| state.connect_mailbox(identity, joins, wakes))?;
        Ok(Mailbox::new(Arc::clone(self), id, queue))
    }

    /// Adds a connection that lives on a shard and joins these topics. The shard must call
    /// [`EventBus::disconnect`] when the connection ends.
    pub fn connect_on_shard(
        &self,
        queue: &EventQueue,
        encoding: EncodingId,
        slot: ConnectionSlot,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<ConnectionId, JoinError> {
        self.with_state(|state, wakes| {
            let group = state.fanout_group(queue, encoding);
            state.connect(
                identity,
                DeliveryTarget::Shard { group, slot },
                joins,
                wakes,
            )
        })
    }

    /// Joins topics: all of them or none. Topics that the connection has already joined stay
    /// unchanged. On an announced topic, the presence list is the first event that the connection
    /// gets.
    pub fn join(&self, id: ConnectionId, joins: &[JoinRequest]) -> Result<JoinOutcome, JoinError> {
        self.with_state(|state, wakes| state.join(id, joins, wakes))
    }

    /// Removes a connection from a topic. Returns `true` if it was a member.
    pub fn leave(&self, id: ConnectionId, topic: &TopicName) -> bool {
        self.with_state(|state, wakes| state.leave(id, topic, wakes))
    }

    /// Replaces the identity of a connection. It leaves every topic and joins these in one step, so
    /// that it keeps nothing that the old identity could see.
    pub fn set_identity(
        &self,
        id: ConnectionId,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<JoinOutcome, JoinError> {
        self.with_state(|state, wakes| state.set_identity(id, identity, joins, wakes))
    }

    /// Replaces the metadata of a connection's presence entry. Returns `true` if it has an entry on
    /// the topic.
    pub fn update_meta(
        &self,
        id: ConnectionId,
        topic: &TopicName,
        meta: impl Into<Arc<str>>,
    ) -> bool {
        let meta = meta.into();
        self.with_state(|state, wakes| state.update_meta(id, topic, &meta, wakes))
    }

    /// Removes a connection that has ended by itself. Nothing of it is left when this returns.
    /// Repeating the call has no effect.
    pub fn disconnect(&self, id: ConnectionId) {
        self.with_state(|state, wakes| state.remove_connection(id, None, wakes));
    }

    /// Disconnects a connection and delivers the reason after its queued events. Returns `true` if
    /// it was connected.
    pub fn kick(&self, id: ConnectionId, reason: &'static str) -> bool {
        self.with_state(|state, wakes| {
            state.remove_connection(id, Some(DisconnectReason::Kicked(reason)), wakes)
        })
    }

    /// Queues an event for every member of its topics, once per connection. Never waits: a
    /// connection whose mailbox is full is disconnected.
    pub fn publish(&self, publish: Publish) -> Result<PublishReceipt, Overloaded> {
        self.with_state(|state, wakes| state.publish(publish, wakes))
    }

    /// Makes a topic retain its last `limit` messages, and stay open even without members. Only for
    /// names that the app chooses, never for a client's.
    pub fn retain_history(&self, topic: &TopicName, limit: usize) {
        self.lock().retain_history(topic, limit);
    }

    /// Returns at most `limit` of the messages that a topic retains, newest first.
    pub fn recent(&self, topic: &TopicName, limit: usize) -> Vec<Arc<BusEvent>> {
        let state = self.lock();
        let history = state
            .connections
            .topic_by_name(topic)
            .and_then(|topic| topic.history.as_ref());
        history
            .map(|history| history.newest(limit))
            .unwrap_or_default()
    }

    /// Returns the retained messages of a topic after `seq`.
    pub fn history_since(&self, topic: &TopicName, seq: u64) -> HistorySlice {
        let state = self.lock();
        let history = state
            .connections
            .topic_by_name(topic)
            .and_then(|topic| topic.history.as_ref());
        history.map_or(
            HistorySlice {
                events: Vec::new(),
                is_complete: false,
            },
            |history| history.since(seq),
        )
    }

    /// Returns the users present on a topic, sorted by user id.
    pub fn present_users(&self, topic: &TopicName) -> Vec<PresentUser> {
        let state = self.lock();
        let presence_map = state
            .connections
            .topic_by_name(topic)
            .and_then(|topic| topic.presence_map.as_ref());
        presence_map
            .map(|presence_map| presence_map.list())
            .unwrap_or_default()
    }

    /// Returns the number of users and connections on a topic.
    pub fn presence_counts(&self, topic: &TopicName) -> PresenceCounts {
        self.lock()
            .connections
            .topic_by_name(topic)
            .map(connections::EventTopic::counts)
            .unwrap_or_default()
    }

    /// Returns all connections of one user.
    pub fn connections_of(&self, user: &UserId) -> Vec<ConnectionId> {
        let state = self.lock();
        state
            .connections
            .connections_of_user(user)
            .iter()
            .map(|index| state.connections.connection_id(*index))
            .collect()
    }

    /// Returns every topic, in no particular order. It copies all names, so it is meant for
    /// overviews only.
    pub fn topics(&self) -> Vec<TopicSummary> {
        let summary = |topic: &connections::EventTopic| TopicSummary {
            name: topic.name.clone(),
            counts: topic.counts(),
            opened_us: topic.opened_us,
            active_us: topic.active_us,
        };
        self.lock().connections.topics().map(summary).collect()
    }

    /// Returns every connection, in no particular order. It copies all data, so it is meant for
    /// overviews only.
    pub fn connections(&self) -> Vec<ConnectionSummary> {
        let state = self.lock();
        let name = |membership: &connections::Membership| {
            state
                .connections
                .topic(membership.topic)
                .map(|topic| topic.name.clone())
        };
        let summary =
            |(id, conn): (ConnectionId, &connections::ConnectionRecord)| ConnectionSummary {
                id,
                identity: Arc::clone(&conn.identity),
                topics: conn.memberships.iter().filter_map(name).collect(),
                connected_us: conn.connected_us,
            };
        state.connections.connections().map(summary).collect()
    }

    /// Returns the number of connections, users and topics.
    pub fn totals(&self) -> BusTotals {
        let (connections, users, topics) = self.lock().connections.totals();
        BusTotals {
            connections,
            users,
            topics,
        }
    }

    /// Runs a change under the lock, removes the connections that overflowed because of it, and
    /// wakes recipients after the lock is released.
    fn with_state<R>(&self, apply: impl FnOnce(&mut BusState, &mut PendingWakes) -> R) -> R {
        let mut wakes = PendingWakes::default();
        let mut state = self.lock();
        let result = apply(&mut state, &mut wakes);
        state.disconnect_overflowed(&mut wakes);
        drop(state);
        wakes.wake_all();
        result
    }

    /// Locks the state. A panic elsewhere must not stop every topic. The policy is the only foreign
    /// code called under this lock, and its panics are caught.
    fn lock(&self) -> MutexGuard<'_, BusState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for EventBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventBus").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "event_bus_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
