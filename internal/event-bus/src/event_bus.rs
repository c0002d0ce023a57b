//! The event bus: its operations, each of them one change under the lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connections::{ConnectionRecord, DeliveryTarget, EventTopic, Membership};
use crate::fan_out::PendingWakes;
use crate::state::BusState;
use crate::{
    BusEvent, BusTotals, ConnectionId, ConnectionSlot, ConnectionSummary, DisconnectReason,
    EncodingId, EventQueue, Identity, JoinError, JoinOutcome, JoinRequest, Overloaded,
    PresenceCounts, PresentUser, Publish, PublishReceipt, TopicName, TopicPolicy, TopicSummary,
};
use latido_base::ident::UserId;

/// The event topics of one tenant; see the crate's documentation.
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
            let group = state.fan_out.group(queue, encoding);
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

    /// Returns whether a connection still exists.
    pub fn is_connected(&self, id: ConnectionId) -> bool {
        self.lock().connections.find_connection(id).is_some()
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
            .map(EventTopic::counts)
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
        let summary = |topic: &EventTopic| TopicSummary {
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
        let name = |membership: &Membership| {
            state
                .connections
                .topic(membership.topic)
                .map(|topic| topic.name.clone())
        };
        let summary = |(id, conn): (ConnectionId, &ConnectionRecord)| ConnectionSummary {
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
    pub(super) fn with_state<R>(
        &self,
        apply: impl FnOnce(&mut BusState, &mut PendingWakes) -> R,
    ) -> R {
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
