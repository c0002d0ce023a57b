//! The event queue of a shard: a bounded queue of events, each with the list of its recipients.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Dialect, End, Event};
use latido_protocol::Frame;

/// The maximum number of queued events of a shard. Beyond it, publishers are refused.
pub const PORT_EVENTS: usize = 4096;
/// The maximum size of queued payloads and recipient lists of a shard, in bytes. Beyond it,
/// publishers are refused. A single event always fits an empty queue.
pub const PORT_BYTES: usize = 16 << 20;
/// The factor on both limits for deliveries that cannot be refused (presence changes and
/// disconnects).
const HEADROOM: usize = 2;

/// A connection's slot on its shard. The shard compares the generation, so that nothing meant for
/// the slot's last owner reaches the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The index among the shard's connections.
    pub slot: u32,
    /// The number of times that the slot was assigned.
    pub generation: u32,
}

/// One delivery for a shard, to be handled in order.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// An event to send once to each recipient, in this encoding ([`BusEvent::encoded_frame`]).
    Event {
        /// The event, shared with all other recipients.
        event: Arc<Event>,
        /// The encoding of all recipients.
        dialect: Dialect,
        /// The recipients, without duplicates and in no particular order.
        to: Box<[Address]>,
    },
    /// A reply of the connection's own app, sent after the events before it.
    Reply {
        /// The connection that gets the reply.
        to: Address,
        /// The encoded frame of the reply.
        frame: Frame,
    },
    /// A disconnect: the bus has removed the connection. The shard must close it after the
    /// deliveries queued before.
    End {
        /// The connection to close.
        to: Address,
        /// The reason for the disconnect.
        end: End,
    },
}

impl Delivery {
    /// Returns the recipients of the delivery.
    pub fn to(&self) -> &[Address] {
        match self {
            Self::Event { to, .. } => to,
            Self::Reply { to, .. } | Self::End { to, .. } => std::slice::from_ref(to),
        }
    }

    /// Returns the size, in bytes, that counts towards the queue's limit.
    fn weight(&self) -> usize {
        match self {
            Self::Event { event, to, .. } => weight(
                event.message().map_or(0, |message| message.payload.len()),
                to.len(),
            ),
            Self::Reply { frame, .. } => weight(frame.as_bytes().len(), 1),
            Self::End { .. } => weight(0, 1),
        }
    }
}

/// Returns the counted size of an event, in bytes, for its payload and recipients.
pub(super) fn weight(payload_bytes: usize, recipients: usize) -> usize {
    payload_bytes + recipients * size_of::<Address>()
}

/// Everything that a shard has drained from its queue.
#[derive(Debug, Default)]
pub struct Taken {
    /// The deliveries, in order.
    pub deliveries: Vec<Delivery>,
    /// `true` if the shard was so far behind that a delivery was lost. Every connection of this
    /// queue has then missed something and must be disconnected as too slow, after the deliveries
    /// or instead of them.
    pub overrun: bool,
}

#[derive(Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    /// The number of queued deliveries and of reservations by publishers.
    events: usize,
    bytes: usize,
    overrun: bool,
}

impl Queue {
    fn has_room(&self, bytes: usize, factor: usize) -> bool {
        self.events == 0
            || (self.events < PORT_EVENTS * factor && self.bytes + bytes <= PORT_BYTES * factor)
    }
}

/// The state shared by the buses, which fill it, and the shard's thread, which empties it. In the
/// lock order, its mutex comes after those of the buses; it is held for one push or one swap.
struct Shared {
    queue: Mutex<Queue>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The event queue of one shard, shared by all its connections on all buses. Clones refer to the
/// same queue.
#[derive(Clone)]
pub struct Port(Arc<Shared>);

impl Port {
    /// Creates a queue. It calls `wake`, from any thread and without holding a lock, when it stops
    /// being empty.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Box::new(wake),
        }))
    }

    /// Takes all queued deliveries. Deliveries that stay queued hold publishers back, so a shard
    /// drains again only after it has finished the last ones.
    pub fn take(&self) -> Taken {
        let mut state = self.lock();
        let deliveries = std::mem::take(&mut state.deliveries);
        let overrun = std::mem::take(&mut state.overrun);
        state.events = state.events.saturating_sub(deliveries.len());
        state.bytes = state
            .bytes
            .saturating_sub(deliveries.iter().map(Delivery::weight).sum());
        Taken {
            deliveries,
            overrun,
        }
    }

    /// Returns `true` if there is nothing to drain.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.deliveries.is_empty() && !state.overrun
    }

    /// Queues a reply behind the pending events. The shard itself calls this, and drains the reply
    /// in its turn.
    pub fn reply(&self, to: Address, frame: Frame) {
        if self.force(Delivery::Reply { to, frame }) {
            self.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Reserves capacity for a delivery of `weight` bytes. Returns `false` if there is none.
    pub(super) fn promise(&self, weight: usize) -> bool {
        let mut state = self.lock();
        let has_capacity = !state.overrun && state.has_room(weight, 1);
        if has_capacity {
            state.events += 1;
            state.bytes += weight;
        }
        has_capacity
    }

    /// Releases a reservation without using it.
    pub(super) fn release(&self, weight: usize) {
        let mut state = self.lock();
        state.events = state.events.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(weight);
    }

    /// Queues a delivery for which capacity is reserved. Returns `true` if the shard must be woken.
    pub(super) fn fill(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        let wake = state.deliveries.is_empty() && !state.overrun;
        state.deliveries.push(delivery);
        wake
    }

    /// Queues a delivery that cannot be refused. If even the higher limit is reached, marks the
    /// queue as overrun instead. Returns `true` if the shard must be woken.
    pub(super) fn force(&self, delivery: Delivery) -> bool {
        let mut state = self.lock();
        if state.overrun {
            return false;
        }
        let weight = delivery.weight();
        if !state.has_room(weight, HEADROOM) {
            state.overrun = true;
            return state.deliveries.is_empty();
        }
        let wake = state.deliveries.is_empty();
        state.events += 1;
        state.bytes += weight;
        state.deliveries.push(delivery);
        wake
    }

    pub(super) fn wake(&self) {
        (self.0.wake)();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    fn delivery(recipients: u32) -> Delivery {
        let event = Arc::new(Event::new(1, 0, Box::default(), Body::State(Vec::new())));
        let to = (0..recipients)
            .map(|slot| Address {
                slot,
                generation: 0,
            })
            .collect();
        Delivery::Event {
            event,
            dialect: Dialect(0),
            to,
        }
    }

    #[test]
    fn reservations_count_until_drained() {
        let queue = Port::new(|| {});
        for _ in 0..PORT_EVENTS {
            assert!(queue.promise(8));
        }
        assert!(!queue.promise(8), "full of reservations");
        queue.release(8);
        assert!(queue.promise(8));
        for n in 0..PORT_EVENTS {
            assert_eq!(queue.fill(delivery(1)), n == 0, "one wake-up for a burst");
        }
        assert!(!queue.promise(8));
        assert_eq!(queue.take().deliveries.len(), PORT_EVENTS);
        let state = queue.lock();
        assert_eq!((state.events, state.bytes), (0, 0), "nothing is left");
    }

    #[test]
    fn one_huge_event_fits_only_an_empty_queue() {
        let queue = Port::new(|| {});
        assert!(queue.promise(PORT_BYTES * 3));
        assert!(!queue.promise(1));
    }

    #[test]
    fn forced_deliveries_overrun_at_the_higher_limit() {
        let queue = Port::new(|| {});
        for _ in 0..PORT_EVENTS * HEADROOM {
            queue.force(delivery(1));
        }
        assert!(!queue.force(delivery(1)));
        let drained = queue.take();
        assert_eq!(
            (drained.deliveries.len(), drained.overrun),
            (PORT_EVENTS * HEADROOM, true)
        );
        assert!(queue.force(delivery(1)), "draining clears the overrun");
        assert!(!queue.take().overrun);
    }
}
