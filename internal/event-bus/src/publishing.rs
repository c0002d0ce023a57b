//! Publishing on the event bus: the recipients of an event, and its delivery.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::connections::DeliveryTarget;
use crate::event::{BusEvent, EventBody, Publish, TopicName};
use crate::mailbox_queue::PushOutcome;
use crate::presence::{PresenceDiff, PresenceMode};
use crate::shard_queue::{Delivery, counted_bytes};
use crate::state::{BusState, PendingWakes};
use crate::summary::{Overloaded, PublishReceipt};

impl BusState {
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

    pub(super) fn collect_recipients_for(&mut self, publish: &Publish) {
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
    pub(super) fn collect_recipients(
        &mut self,
        topics: &[TopicName],
        connection: Option<u32>,
        user: &[u32],
    ) {
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
    pub(super) fn set_single_recipient(&mut self, conn: u32) {
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
    pub(super) fn reserve(&mut self, payload_bytes: usize) -> Result<(), Overloaded> {
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
    pub(super) fn dispatch(
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
    pub(super) fn record_message(&mut self, event: &Arc<BusEvent>) {
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

    /// Announces a change of a topic's presence list to its members, if the mode says so, and to
    /// the recipients that the policy names.
    pub(super) fn announce(&mut self, topic: u32, diff: PresenceDiff, wakes: &mut PendingWakes) {
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
}
