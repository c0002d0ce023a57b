//! The event queue of a shard: a bounded queue of events, each with the list of its recipients.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{BusEvent, DisconnectReason, EncodingId};
use latido_protocol::Frame;

/// The maximum number of queued events of a shard. Beyond it, publishers are refused.
pub const MAX_QUEUE_EVENTS: usize = 4096;
/// The maximum size of queued payloads and recipient lists of a shard, in bytes. Beyond it,
/// publishers are refused. A single event always fits an empty queue.
pub const MAX_QUEUE_BYTES: usize = 16 << 20;
/// The factor on both limits for deliveries that cannot be refused (presence changes and
/// disconnects).
const HEADROOM_FACTOR: usize = 2;

/// A connection's slot on its shard. The shard compares the generation, so that nothing meant for
/// the slot's last owner reaches the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionSlot {
    /// The index among the shard's connections.
    pub index: u32,
    /// The number of times that the slot was assigned.
    pub generation: u32,
}

/// One delivery for a shard, to be handled in order.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An event to send once to each recipient, in this encoding ([`BusEvent::encoded_frame`]).
    Event {
        /// The event, shared with all other recipients.
        event: Arc<BusEvent>,
        /// The encoding of all recipients.
        encoding: EncodingId,
        /// The recipients, without duplicates and in no particular order.
        to: Box<[ConnectionSlot]>,
    },
    /// A reply of the connection's own app, sent after the events before it.
    Reply {
        /// The connection that gets the reply.
        to: ConnectionSlot,
        /// The encoded frame of the reply.
        frame: Frame,
    },
    /// A disconnect: the bus has removed the connection. The shard must close it after the
    /// deliveries queued before.
    Disconnect {
        /// The connection to close.
        to: ConnectionSlot,
        /// The reason for the disconnect.
        reason: DisconnectReason,
    },
}

impl Delivery {
    /// Returns the recipients of the delivery.
    pub fn recipients(&self) -> &[ConnectionSlot] {
        match self {
            Self::Event { to, .. } => to,
            Self::Reply { to, .. } | Self::Disconnect { to, .. } => std::slice::from_ref(to),
        }
    }

    /// Returns the size, in bytes, that counts towards the queue's limit.
    fn counted_bytes(&self) -> usize {
        match self {
            Self::Event { event, to, .. } => counted_bytes(
                event.message().map_or(0, |message| message.payload.len()),
                to.len(),
            ),
            Self::Reply { frame, .. } => counted_bytes(frame.as_bytes().len(), 1),
            Self::Disconnect { .. } => counted_bytes(0, 1),
        }
    }
}

/// Returns the counted size of an event, in bytes, for its payload and recipients.
pub(super) fn counted_bytes(payload_bytes: usize, recipients: usize) -> usize {
    payload_bytes + recipients * size_of::<ConnectionSlot>()
}

/// Everything that a shard has drained from its queue.
#[derive(Debug, Default)]
pub struct DrainedQueue {
    /// The deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// `true` if the shard was so far behind that a delivery was lost. Every connection of this
    /// queue has then missed something and must be disconnected as too slow, after the deliveries
    /// or instead of them.
    pub is_overrun: bool,
}

#[derive(Default)]
struct EventQueueState {
    deliveries: Vec<Delivery>,
    /// The number of queued deliveries and of reservations by publishers.
    reserved_events: usize,
    reserved_bytes: usize,
    is_overrun: bool,
}

impl EventQueueState {
    fn has_capacity(&self, bytes: usize, factor: usize) -> bool {
        self.reserved_events == 0
            || (self.reserved_events < MAX_QUEUE_EVENTS * factor
                && self.reserved_bytes + bytes <= MAX_QUEUE_BYTES * factor)
    }
}

/// The state shared by the buses, which fill it, and the shard's thread, which empties it. In the
/// lock order, its mutex comes after those of the buses; it is held for one push or one swap.
struct EventQueueShared {
    state: Mutex<EventQueueState>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The event queue of one shard, shared by all its connections on all buses. Clones refer to the
/// same queue.
#[derive(Clone)]
pub struct EventQueue(Arc<EventQueueShared>);

impl EventQueue {
    /// Creates a queue. It calls `wake`, from any thread and without holding a lock, when it stops
    /// being empty.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(EventQueueShared {
            state: Mutex::default(),
            wake: Box::new(wake),
        }))
    }

    /// Takes all queued deliveries. Deliveries that stay queued hold publishers back, so a shard
    /// drains again only after it has finished the last ones.
    pub fn drain(&self) -> DrainedQueue {
        let mut state = self.lock();
        let deliveries = std::mem::take(&mut state.deliveries);
        let overrun = std::mem::take(&mut state.is_overrun);
        state.reserved_events = state.reserved_events.saturating_sub(deliveries.len());
        state.reserved_bytes = state
            .reserved_bytes
            .saturating_sub(deliveries.iter().map(Delivery::counted_bytes).sum());
        DrainedQueue {
            deliveries,
            is_overrun: overrun,
        }
    }

    /// Returns `true` if there is nothing to drain.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.deliveries.is_empty() && !state.is_overrun
    }

    /// Queues a reply behind the pending events. The shard itself calls this, and drains the reply
    /// in its turn.
    pub fn push_reply(&self, to: ConnectionSlot, frame: Frame) {
        if self.force_push(Delivery::Reply { to, frame }) {
            self.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, EventQueueState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_same_queue(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Reserves capacity for a delivery of `weight` bytes. Returns `false` if there is none.
    pub(super) fn reserve(&self, weight: usize) -> bool {
        let mut state = self.lock();
        let has_capacity = !state.is_overrun && state.has_capacity(weight, 1);
        if has_capacity {
            state.reserved_events += 1;
            state.reserved_bytes += weight;
        }
        has_capacity
    }

    /// Releases a reservation without using it.
    pub(super) fn release(&self, weight: usize) {
        let mut state = self.lock();
        state.reserved_events = state.reserved_events.saturating_sub(1);
        state.reserved_bytes = state.reserved_bytes.saturating_sub(weight);
    }

    /// Queues a delivery for which capacity is reserved. Returns `true` if the shard must be woken.
    pub(super) fn commit(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        let wake = state.deliveries.is_empty() && !state.is_overrun;
        state.deliveries.push(delivery);
        wake
    }

    /// Queues a delivery that cannot be refused. If even the higher limit is reached, marks the
    /// queue as overrun instead. Returns `true` if the shard must be woken.
    pub(super) fn force_push(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        if state.is_overrun {
            return false;
        }
        let weight = delivery.counted_bytes();
        if !state.has_capacity(weight, HEADROOM_FACTOR) {
            state.is_overrun = true;
            return state.deliveries.is_empty();
        }
        let wake = state.deliveries.is_empty();
        state.reserved_events += 1;
        state.reserved_bytes += weight;
        state.deliveries.push(delivery);
        wake
    }

    pub(super) fn wake(&self) {
        (self.0.wake)();
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventBody;

    fn delivery(recipients: u32) -> Delivery {
        let event = Arc::new(BusEvent::new(
            1,
            0,
            Box::default(),
            EventBody::PresenceList(Vec::new()),
        ));
        let to = (0..recipients)
            .map(|slot| ConnectionSlot {
                index: slot,
                generation: 0,
            })
            .collect();
        Delivery::Event {
            event,
            encoding: EncodingId(0),
            to,
        }
    }

    #[test]
    fn reservations_count_until_drained() {
        let queue = EventQueue::new(|| {});
        for _ in 0..MAX_QUEUE_EVENTS {
            assert!(queue.reserve(8));
        }
        assert!(!queue.reserve(8), "full of reservations");
        queue.release(8);
        assert!(queue.reserve(8));
        for n in 0..MAX_QUEUE_EVENTS {
            assert_eq!(queue.commit(delivery(1)), n == 0, "one wake-up for a burst");
        }
        assert!(!queue.reserve(8));
        assert_eq!(queue.drain().deliveries.len(), MAX_QUEUE_EVENTS);
        let state = queue.lock();
        assert_eq!(
            (state.reserved_events, state.reserved_bytes),
            (0, 0),
            "nothing is left"
        );
    }

    #[test]
    fn one_huge_event_fits_only_an_empty_queue() {
        let queue = EventQueue::new(|| {});
        assert!(queue.reserve(MAX_QUEUE_BYTES * 3));
        assert!(!queue.reserve(1));
    }

    #[test]
    fn forced_deliveries_overrun_at_the_higher_limit() {
        let queue = EventQueue::new(|| {});
        for _ in 0..MAX_QUEUE_EVENTS * HEADROOM_FACTOR {
            queue.force_push(delivery(1));
        }
        assert!(!queue.force_push(delivery(1)));
        let drained = queue.drain();
        assert_eq!(
            (drained.deliveries.len(), drained.is_overrun),
            (MAX_QUEUE_EVENTS * HEADROOM_FACTOR, true)
        );
        assert!(queue.force_push(delivery(1)), "draining clears the overrun");
        assert!(!queue.drain().is_overrun);
    }
}
