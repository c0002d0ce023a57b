//! Fan-out: collects the recipients of an event and puts it into their queues.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use crate::connections::{ConnectionTable, DeliveryTarget};
use crate::mailbox_queue::PushOutcome;
use crate::shard_queue::counted_bytes;
use crate::{
    BusEvent, ConnectionId, ConnectionSlot, Delivery, DisconnectReason, EncodingId, EventQueue,
    Overloaded, TopicName,
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

/// The recipients of the current event, and the queues through which they get it.
#[derive(Default)]
pub(super) struct FanOut {
    groups: Vec<FanoutGroup>,
    /// The connections with a mailbox among the recipients of the current event.
    mailbox_recipients: Vec<u32>,
    /// The number of the current fan-out.
    mark: u64,
    /// The connections whose mailbox has overflowed. They are removed before the lock is released.
    overflowed: VecDeque<ConnectionId>,
}

impl FanOut {
    /// Returns the index of the group for a queue and an encoding, and creates it if necessary.
    /// There are at most shards times encodings groups, so a linear search suffices, and groups are
    /// never removed.
    pub(super) fn group(&mut self, queue: &EventQueue, encoding: EncodingId) -> u32 {
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

    /// Collects the members of the topics as recipients of the current event. Excluded connections
    /// are marked as visited beforehand.
    pub(super) fn collect_recipients(
        &mut self,
        connections: &mut ConnectionTable,
        topics: &[TopicName],
        excluded: impl Iterator<Item = u32>,
    ) {
        self.mark += 1;
        for conn in excluded {
            if let Some(conn) = connections.connection_mut(conn) {
                conn.fanout_mark = self.mark;
            }
        }
        let mark = self.mark;
        connections.for_each_recipient(topics, mark, |conn, target| {
            self.add_recipient(conn, target)
        });
    }

    /// Adds a connection to the recipients of the current event.
    pub(super) fn add_recipient(&mut self, conn: u32, target: &DeliveryTarget) {
        match target {
            DeliveryTarget::Mailbox(_) => self.mailbox_recipients.push(conn),
            DeliveryTarget::Shard { group, slot } => {
                self.groups[*group as usize].recipients.push(*slot);
            }
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

    /// Queues an event for the collected recipients. With `is_reserved`, every group has a
    /// reservation. Returns the number of connections reached.
    pub(super) fn dispatch(
        &mut self,
        connections: &ConnectionTable,
        event: &Arc<BusEvent>,
        is_reserved: bool,
        wakes: &mut PendingWakes,
    ) -> usize {
        self.push_to_mailboxes(connections, event, wakes)
            + self.push_to_shards(event, is_reserved, wakes)
    }

    fn push_to_mailboxes(
        &mut self,
        connections: &ConnectionTable,
        event: &Arc<BusEvent>,
        wakes: &mut PendingWakes,
    ) -> usize {
        let mut reached = 0;
        for conn in self.mailbox_recipients.drain(..) {
            let Some(DeliveryTarget::Mailbox(mailbox)) =
                connections.connection(conn).map(|conn| &conn.target)
            else {
                continue;
            };
            match mailbox.push(event) {
                PushOutcome::Queued(waker) => {
                    reached += 1;
                    wakes.wakers.extend(waker);
                }
                PushOutcome::Overflow(waker) => {
                    wakes.wakers.extend(waker);
                    self.overflowed.push_back(connections.connection_id(conn));
                }
                PushOutcome::Ended => {}
            }
        }
        reached
    }

    fn push_to_shards(
        &mut self,
        event: &Arc<BusEvent>,
        is_reserved: bool,
        wakes: &mut PendingWakes,
    ) -> usize {
        let mut reached = 0;
        for group in self
            .groups
            .iter_mut()
            .filter(|group| !group.recipients.is_empty())
        {
            reached += group.recipients.len();
            let delivery = Delivery::Event {
                event: Arc::clone(event),
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
        reached
    }

    /// Returns the next connection whose mailbox has overflowed.
    pub(super) fn next_overflowed(&mut self) -> Option<ConnectionId> {
        self.overflowed.pop_front()
    }

    /// Delivers the reason for the end of a connection after its queued events.
    pub(super) fn notify_disconnect(
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
}
