//! The state under the lock of the event bus. The order of the changes made to it is the order of
//! the events.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::connections::{ConnectionTable, DeliveryTarget};
use crate::history::EventHistory;
use crate::mailbox::{MailboxQueue, PushOutcome};
use crate::presence::PresenceMode;
use crate::shard_queue::counted_bytes;
use crate::{
    BusEvent, ConnectionId, ConnectionSlot, Delivery, DisconnectReason, EncodingId, EventBody,
    EventQueue, Identity, JoinError, JoinOutcome, JoinRequest, MAX_TOPICS, Overloaded,
    PresenceDiff, PresenceEntry, Publish, PublishReceipt, TopicName, TopicPolicy,
};

/// The tasks and shards to wake after the lock is released.
#[derive(Default)]
pub(super) struct PendingWakes {
    wakers: Vec<Waker>,
    queues: Vec<EventQueue>,
}

impl PendingWakes {
    pub(super) fn wake_all(self) {
        self.wakers.into_iter().for_each(Waker::wake);
        self.queues.iter().for_each(EventQueue::wake);
    }
}

/// The connections of one shard that use one encoding.
struct FanoutGroup {
    queue: EventQueue,
    encoding: EncodingId,
    /// The recipients of the current event.
    recipients: Vec<ConnectionSlot>,
}

pub(super) struct BusState {
    pub(super) connections: ConnectionTable,
    policy: Box<dyn TopicPolicy>,
    now_us: Box<dyn Fn() -> i64 + Send + Sync>,
    groups: Vec<FanoutGroup>,
    /// The connections with a mailbox among the recipients of the current event.
    mailbox_recipients: Vec<u32>,
    /// The sequence number of the last event; `at_us` is its time.
    pub(super) seq: u64,
    at_us: i64,
    /// The number of the current fan-out.
    fanout_mark: u64,
    /// The reference of the last presence entry.
    last_reference: u64,
    /// The connections whose mailbox has overflowed. They are removed before the lock is released.
    overflowed: VecDeque<ConnectionId>,
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
            groups: Vec::new(),
            mailbox_recipients: Vec::new(),
            seq: 0,
            at_us: 0,
            fanout_mark: 0,
            last_reference: 0,
            overflowed: VecDeque::new(),
        }
    }

    /// Returns the current time, in microseconds, but never less than that of the last event.
    fn next_timestamp(&mut self) -> i64 {
        self.at_us = self.at_us.max((self.now_us)());
        self.at_us
    }

    /// Returns the index of the group for a queue and an encoding, and creates it if necessary.
    /// There are at most shards times encodings groups, so a linear search suffices, and groups are
    /// never removed.
    pub(super) fn fanout_group(&mut self, queue: &EventQueue, encoding: EncodingId) -> u32 {
        let known = self
            .groups
            .iter()
            .position(|group| group.encoding == encoding && group.queue.is_same_queue(queue));
        let index = known.unwrap_or_else(|| {
            self.groups.push(FanoutGroup {
                queue: queue.clone(),
                encoding,
                recipients: Vec::new(),
            });
            self.groups.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
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
        let new = joins
            .iter()
            .filter(|join| self.join_topic(conn, join, wakes))
            .count();
        Ok(JoinOutcome {
            new_topics: new,
            seq: self.seq,
        })
    }

    /// Joins one topic. First the members are notified, then the connection becomes a member, then
    /// it gets the presence list. So it misses no change and gets none twice.
    fn join_topic(&mut self, conn: u32, join: &JoinRequest, wakes: &mut PendingWakes) -> bool {
        let opened_us = self.next_timestamp();
        let policy = &self.policy;
        let topic = self.connections.open_topic(
            &join.topic,
            || policy.presence_mode(&join.topic),
            opened_us,
        );
        if self.connections.find_membership(conn, topic).is_some() {
            return false;
        }
        let entry = self.new_presence_entry(conn, &join.with_meta);
        let Some(identity) = self
            .connections
            .connection(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let mut listed = None;
        if let Some(listed_topic) = self.connections.topic_mut(topic)
            && listed_topic.presence_mode != PresenceMode::Off
        {
            listed = listed_topic
                .presence_map
                .get_or_insert_default()
                .add(&identity, entry);
        }
        if let Some(diff) = listed {
            self.announce(topic, diff, wakes);
        }
        self.connections.add_member(conn, topic);
        let Some(joined) = self.connections.topic(topic) else {
            return true;
        };
        if joined.presence_mode == PresenceMode::Announced {
            let state = EventBody::PresenceList(
                joined
                    .presence_map
                    .as_ref()
                    .map(|presence_map| presence_map.list())
                    .unwrap_or_default(),
            );
            let name = joined.name.clone();
            self.set_single_recipient(conn);
            self.deliver(Box::new([name]), state, wakes);
        }
        true
    }

    fn new_presence_entry(&mut self, conn: u32, meta: &Arc<str>) -> PresenceEntry {
        self.last_reference += 1;
        PresenceEntry {
            connection: self.connections.connection_id(conn),
            reference: self.last_reference,
            meta: Arc::clone(meta),
        }
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

    fn announce_left(&mut self, left: Vec<(u32, Option<PresenceDiff>)>, wakes: &mut PendingWakes) {
        for (topic, diff) in left {
            if let Some(diff) = diff {
                self.announce(topic, diff, wakes);
            }
            self.connections.close_topic_if_empty(topic);
        }
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
            self.notify_disconnect(&removed.target, reason, wakes);
        }
        self.announce_left(left, wakes);
        true
    }

    fn notify_disconnect(
        &self,
        target: &DeliveryTarget,
        reason: DisconnectReason,
        wakes: &mut PendingWakes,
    ) {
        match target {
            DeliveryTarget::Mailbox(mailbox) => wakes.wakers.extend(mailbox.close(reason)),
            DeliveryTarget::Shard { group, slot: to } => {
                if let Some(group) = self.groups.get(*group as usize)
                    && group
                        .queue
                        .force_push(Delivery::Disconnect { to: *to, reason })
                {
                    wakes.queues.push(group.queue.clone());
                }
            }
        }
    }

    pub(super) fn update_meta(
        &mut self,
        id: ConnectionId,
        name: &TopicName,
        meta: &Arc<str>,
        wakes: &mut PendingWakes,
    ) -> bool {
        let Some((conn, topic)) = self
            .connections
            .find_connection(id)
            .zip(self.connections.find_topic(name))
        else {
            return false;
        };
        let entry = self.new_presence_entry(conn, meta);
        let Some(identity) = self
            .connections
            .connection(conn)
            .map(|conn| Arc::clone(&conn.identity))
        else {
            return false;
        };
        let presence_map = self
            .connections
            .topic_mut(topic)
            .and_then(|topic| topic.presence_map.as_mut());
        let Some(diff) =
            presence_map.and_then(|presence_map| presence_map.update(&identity, entry))
        else {
            return false;
        };
        self.announce(topic, diff, wakes);
        true
    }

    /// Announces a change of a topic's presence list to its members, if the mode says so, and to
    /// the recipients that the policy names.
    fn announce(&mut self, topic: u32, diff: PresenceDiff, wakes: &mut PendingWakes) {
        let Some((name, mode)) = self
            .connections
            .topic(topic)
            .map(|topic| (topic.name.clone(), topic.presence_mode))
        else {
            return;
        };
        // A panic in the policy must not leave a change half made. The panic hook has already
        // printed it to standard error.
        let messages = catch_unwind(AssertUnwindSafe(|| {
            self.policy.on_presence_change(&name, &diff)
        }))
        .unwrap_or_default();
        if mode == PresenceMode::Announced {
            self.collect_recipients(std::slice::from_ref(&name), None, &[]);
            self.deliver(Box::new([name]), EventBody::PresenceDiff(diff), wakes);
        }
        for publish in messages {
            self.collect_recipients_for(&publish);
            self.deliver(
                publish.topics.into(),
                EventBody::Message(publish.message),
                wakes,
            );
        }
    }

    pub(super) fn publish(
        &mut self,
        publish: Publish,
        wakes: &mut PendingWakes,
    ) -> Result<PublishReceipt, Overloaded> {
        self.collect_recipients_for(&publish);
        self.reserve(publish.message.payload.len())?;
        let body = EventBody::Message(publish.message);
        Ok(self.dispatch(publish.topics.into(), body, true, wakes))
    }

    fn collect_recipients_for(&mut self, publish: &Publish) {
        let user = publish.except_user.as_ref().map_or(Vec::new(), |user| {
            self.connections.connections_of_user(user).to_vec()
        });
        let connection = publish
            .except_connection
            .and_then(|id| self.connections.find_connection(id));
        self.collect_recipients(&publish.topics, connection, &user);
    }

    /// Collects the recipients of the current event. Excluded connections are marked as visited
    /// beforehand.
    fn collect_recipients(&mut self, topics: &[TopicName], connection: Option<u32>, user: &[u32]) {
        self.fanout_mark += 1;
        for conn in connection.iter().chain(user) {
            if let Some(conn) = self.connections.connection_mut(*conn) {
                conn.fanout_mark = self.fanout_mark;
            }
        }
        let Self {
            connections: members,
            groups,
            mailbox_recipients: mailboxes,
            ..
        } = self;
        members.for_each_recipient(topics, self.fanout_mark, |conn, target| match target {
            DeliveryTarget::Mailbox(_) => mailboxes.push(conn),
            DeliveryTarget::Shard { group, slot: to } => {
                groups[*group as usize].recipients.push(*to)
            }
        });
    }

    /// Makes one connection the only recipient of the current event.
    fn set_single_recipient(&mut self, conn: u32) {
        match self.connections.connection(conn).map(|conn| &conn.target) {
            Some(DeliveryTarget::Mailbox(_)) => self.mailbox_recipients.push(conn),
            Some(DeliveryTarget::Shard { group, slot: to }) => {
                self.groups[*group as usize].recipients.push(*to)
            }
            None => {}
        }
    }

    /// Reserves capacity in the queue of every group with recipients. If one is full, releases the
    /// others and clears the recipients.
    fn reserve(&mut self, payload_bytes: usize) -> Result<(), Overloaded> {
        let full = self.groups.iter().position(|group| {
            !group.recipients.is_empty()
                && !group
                    .queue
                    .reserve(counted_bytes(payload_bytes, group.recipients.len()))
        });
        let Some(full) = full else { return Ok(()) };
        for group in self.groups[..full]
            .iter()
            .filter(|group| !group.recipients.is_empty())
        {
            group
                .queue
                .release(counted_bytes(payload_bytes, group.recipients.len()));
        }
        self.groups
            .iter_mut()
            .for_each(|group| group.recipients.clear());
        self.mailbox_recipients.clear();
        Err(Overloaded)
    }

    fn deliver(&mut self, topics: Box<[TopicName]>, body: EventBody, wakes: &mut PendingWakes) {
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
        let mut reached = 0;
        let mut mailboxes = std::mem::take(&mut self.mailbox_recipients);
        for conn in mailboxes.drain(..) {
            let Some(DeliveryTarget::Mailbox(mailbox)) =
                self.connections.connection(conn).map(|conn| &conn.target)
            else {
                continue;
            };
            match mailbox.push(&event) {
                PushOutcome::Queued(waker) => {
                    reached += 1;
                    wakes.wakers.extend(waker);
                }
                PushOutcome::Overflow(waker) => {
                    wakes.wakers.extend(waker);
                    self.overflowed
                        .push_back(self.connections.connection_id(conn));
                }
                PushOutcome::Ended => {}
            }
        }
        self.mailbox_recipients = mailboxes;
        for group in self
            .groups
            .iter_mut()
            .filter(|group| !group.recipients.is_empty())
        {
            reached += group.recipients.len();
            let delivery = Delivery::Event {
                event: Arc::clone(&event),
                encoding: group.encoding,
                to: group.recipients.as_slice().into(),
            };
            group.recipients.clear();
            let wake = if is_reserved {
                group.queue.commit(delivery)
            } else {
                group.queue.force_push(delivery)
            };
            if wake {
                wakes.queues.push(group.queue.clone());
            }
        }
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
        while let Some(id) = self.overflowed.pop_front() {
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
