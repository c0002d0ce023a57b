//! The state under the lock of the event bus. The order of the changes made to it is the order of
//! the events.

use std::sync::Arc;

use crate::connections::{ConnectionTable, DeliveryTarget};
use crate::fan_out::{FanOut, PendingWakes};
use crate::history::EventHistory;
use crate::mailbox_queue::MailboxQueue;
use crate::{
    BusEvent, ConnectionId, DisconnectReason, EventBody, Identity, JoinError, JoinOutcome,
    JoinRequest, MAX_TOPICS, Overloaded, PresenceDiff, Publish, PublishReceipt, TopicName,
    TopicPolicy,
};

pub(super) struct BusState {
    pub(super) connections: ConnectionTable,
    pub(super) policy: Box<dyn TopicPolicy>,
    now_us: Box<dyn Fn() -> i64 + Send + Sync>,
    pub(super) fan_out: FanOut,
    /// The sequence number of the last event; `at_us` is its time.
    pub(super) seq: u64,
    at_us: i64,
    /// The reference of the last presence entry.
    pub(super) last_reference: u64,
    /// The metadata of entries without any, shared by all.
    pub(super) no_meta: Arc<str>,
}

impl BusState {
    pub(super) fn new(
        policy: Box<dyn TopicPolicy>,
        now_us: Box<dyn Fn() -> i64 + Send + Sync>,
    ) -> Self {
        Self {
            connections: ConnectionTable::default(),
            policy,
            now_us,
            fan_out: FanOut::default(),
            seq: 0,
            at_us: 0,
            last_reference: 0,
            no_meta: "{}".into(),
        }
    }

    /// Returns the current time, in microseconds, but never less than that of the last event.
    pub(super) fn next_timestamp(&mut self) -> i64 {
        self.at_us = self.at_us.max((self.now_us)());
        self.at_us
    }

    pub(super) fn connect(
        &mut self,
        identity: Identity,
        target: DeliveryTarget,
        joins: &[JoinRequest],
        wakes: &mut PendingWakes,
    ) -> Result<ConnectionId, JoinError> {
        if joins.len() > MAX_TOPICS {
            return Err(JoinError::TooManyTopics);
        }
        let connected_us = self.next_timestamp();
        let id = self
            .connections
            .insert(Arc::new(identity), target, connected_us);
        self.join(id, joins, wakes)?;
        Ok(id)
    }

    pub(super) fn join(
        &mut self,
        id: ConnectionId,
        joins: &[JoinRequest],
        wakes: &mut PendingWakes,
    ) -> Result<JoinOutcome, JoinError> {
        let conn = self
            .connections
            .find_connection(id)
            .ok_or(JoinError::Disconnected)?;
        let is_member = |join: &&JoinRequest| {
            self.connections
                .find_topic(&join.topic)
                .is_some_and(|topic| self.connections.find_membership(conn, topic).is_some())
        };
        let new = joins.len() - joins.iter().filter(is_member).count();
        if self
            .connections
            .connection(conn)
            .is_none_or(|conn| conn.memberships.len() + new > MAX_TOPICS)
        {
            return Err(JoinError::TooManyTopics);
        }
        if let Some(conn) = self.connections.connection_mut(conn)
            && conn.memberships.is_empty()
        {
            // Most connections stay on the topics that they join at first.
            conn.memberships.reserve_exact(new);
        }
        let new = joins
            .iter()
            .filter(|join| self.join_topic(conn, join, wakes))
            .count();
        Ok(JoinOutcome {
            new_topics: new,
            seq: self.seq,
        })
    }

    pub(super) fn leave(
        &mut self,
        id: ConnectionId,
        name: &TopicName,
        wakes: &mut PendingWakes,
    ) -> bool {
        let Some((conn, topic)) = self
            .connections
            .find_connection(id)
            .zip(self.connections.find_topic(name))
        else {
            return false;
        };
        let Some(membership) = self.connections.find_membership(conn, topic) else {
            return false;
        };
        let left = self.remove_member(conn, membership);
        self.announce_left(left.into_iter().collect(), wakes);
        true
    }

    /// Removes a membership together with the connection's presence entry.
    fn remove_member(
        &mut self,
        conn: u32,
        membership: usize,
    ) -> Option<(u32, Option<PresenceDiff>)> {
        let topic = self.connections.remove_member(conn, membership)?;
        let id = self.connections.connection_id(conn);
        let identity = Arc::clone(&self.connections.connection(conn)?.identity);
        let presence_map = self.connections.topic_mut(topic)?.presence_map.as_mut();
        let diff = presence_map.and_then(|presence_map| presence_map.remove(&identity, id));
        Some((topic, diff))
    }

    /// Removes a connection from all its topics. Members are notified only afterwards.
    fn leave_all(&mut self, conn: u32) -> Vec<(u32, Option<PresenceDiff>)> {
        let mut left = Vec::new();
        while let Some(last) = self
            .connections
            .connection(conn)
            .and_then(|conn| conn.memberships.len().checked_sub(1))
        {
            left.extend(self.remove_member(conn, last));
        }
        left
    }

    pub(super) fn set_identity(
        &mut self,
        id: ConnectionId,
        identity: Identity,
        joins: &[JoinRequest],
        wakes: &mut PendingWakes,
    ) -> Result<JoinOutcome, JoinError> {
        let conn = self
            .connections
            .find_connection(id)
            .ok_or(JoinError::Disconnected)?;
        if joins.len() > MAX_TOPICS {
            return Err(JoinError::TooManyTopics);
        }
        let left = self.leave_all(conn);
        self.connections.set_identity(conn, Arc::new(identity));
        self.announce_left(left, wakes);
        self.join(id, joins, wakes)
    }

    /// Removes a connection with all its memberships and delivers `reason` to it. `None` means that
    /// the connection ended by itself.
    pub(super) fn remove_connection(
        &mut self,
        id: ConnectionId,
        reason: Option<DisconnectReason>,
        wakes: &mut PendingWakes,
    ) -> bool {
        let Some(conn) = self.connections.find_connection(id) else {
            return false;
        };
        let left = self.leave_all(conn);
        if let (Some(removed), Some(reason)) = (self.connections.remove(conn), reason) {
            self.fan_out
                .notify_disconnect(&removed.target, reason, wakes);
        }
        self.announce_left(left, wakes);
        true
    }

    pub(super) fn publish(
        &mut self,
        publish: Publish,
        wakes: &mut PendingWakes,
    ) -> Result<PublishReceipt, Overloaded> {
        self.collect_recipients_for(&publish);
        self.fan_out.reserve(publish.message.payload.len())?;
        let body = EventBody::Message(publish.message);
        Ok(self.dispatch(publish.topics.into(), body, true, wakes))
    }

    pub(super) fn collect_recipients_for(&mut self, publish: &Publish) {
        let user = publish.except_user.as_ref().map_or(Vec::new(), |user| {
            self.connections.connections_of_user(user).to_vec()
        });
        let connection = publish
            .except_connection
            .and_then(|id| self.connections.find_connection(id));
        self.fan_out.collect_recipients(
            &mut self.connections,
            &publish.topics,
            connection.into_iter().chain(user),
        );
    }

    /// Delivers the next event to the collected recipients. It cannot be refused.
    pub(super) fn deliver(
        &mut self,
        topics: Box<[TopicName]>,
        body: EventBody,
        wakes: &mut PendingWakes,
    ) {
        self.dispatch(topics, body, false, wakes);
    }

    /// Queues the next event for the collected recipients. With `is_reserved`, every group has a
    /// reservation.
    fn dispatch(
        &mut self,
        topics: Box<[TopicName]>,
        body: EventBody,
        is_reserved: bool,
        wakes: &mut PendingWakes,
    ) -> PublishReceipt {
        self.seq += 1;
        let at_us = self.next_timestamp();
        let event = Arc::new(BusEvent::new(self.seq, at_us, topics, body));
        self.record_message(&event);
        let reached = self
            .fan_out
            .dispatch(&self.connections, &event, is_reserved, wakes);
        PublishReceipt {
            seq: self.seq,
            reached,
        }
    }

    /// Records a message in the history of its topics.
    fn record_message(&mut self, event: &Arc<BusEvent>) {
        if event.message().is_none() {
            return;
        }
        for name in &event.topics {
            let Some(topic) = self
                .connections
                .find_topic(name)
                .and_then(|topic| self.connections.topic_mut(topic))
            else {
                continue;
            };
            topic.active_us = event.at_us;
            if let Some(history) = &mut topic.history {
                history.push(event);
            }
        }
    }

    /// Removes every connection whose mailbox has just overflowed. The announcements may overflow
    /// others, but each connection only once.
    pub(super) fn disconnect_overflowed(&mut self, wakes: &mut PendingWakes) {
        while let Some(id) = self.fan_out.next_overflowed() {
            self.remove_connection(id, None, wakes);
        }
    }

    pub(super) fn retain_history(&mut self, name: &TopicName, limit: usize) {
        let opened_us = self.next_timestamp();
        let policy = &self.policy;
        let index = self
            .connections
            .open_topic(name, || policy.presence_mode(name), opened_us);
        if let Some(topic) = self.connections.topic_mut(index) {
            topic
                .history
                .get_or_insert_with(|| Box::new(EventHistory::new(limit)))
                .resize(limit);
        }
    }

    pub(super) fn connect_mailbox(
        &mut self,
        identity: Identity,
        joins: &[JoinRequest],
        wakes: &mut PendingWakes,
    ) -> Result<(ConnectionId, Arc<MailboxQueue>), JoinError> {
        let queue = Arc::new(MailboxQueue::default());
        let id = self.connect(
            identity,
            DeliveryTarget::Mailbox(Arc::clone(&queue)),
            joins,
            wakes,
        )?;
        Ok((id, queue))
    }
}
