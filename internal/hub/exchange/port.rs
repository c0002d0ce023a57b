//! The end of all connections that live on one shard: a bounded queue of events, each with the list of those it is for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hub::exchange::{Dialect, End, Event};
use crate::protocol::Frame;

/// Events that a shard may be behind before publishers are refused.
pub const PORT_EVENTS: usize = 4096;
/// Bytes of payloads and addresses that a shard may be behind before publishers are refused. A single event always fits an empty queue.
pub const PORT_BYTES: usize = 16 << 20;
/// What can't be refused (presence, ends) goes on to so many times these limits.
const HEADROOM: usize = 2;

/// A connection's place on its shard. The shard compares the generation, so that nothing meant for a slot's last owner reaches the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Index among the shard's connections.
    pub slot: u32,
    /// How often the slot was given away.
    pub generation: u32,
}

/// One thing for a shard to do, in order.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// Send this event, as this dialect writes it ([`Event::frame`]), to each of these once.
    Event {
        /// Shared with everybody else who gets it.
        event: Arc<Event>,
        /// Of all the addressees.
        dialect: Dialect,
        /// Each once, in no particular order.
        to: Box<[Address]>,
    },
    /// An answer of the connection's own app, behind the events before it.
    Reply {
        /// For whom.
        to: Address,
        /// As it leaves.
        frame: Frame,
    },
    /// The exchange has let go of this connection: close it, behind what was queued for it.
    End {
        /// Whose.
        to: Address,
        /// Why.
        end: End,
    },
}

impl Delivery {
    /// For whom.
    pub fn to(&self) -> &[Address] {
        match self {
            Self::Event { to, .. } => to,
            Self::Reply { to, .. } | Self::End { to, .. } => std::slice::from_ref(to),
        }
    }

    /// Bytes that it is counted with.
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

/// What an event of so many payload bytes for so many connections is counted with.
pub(super) fn weight(payload: usize, addresses: usize) -> usize {
    payload + addresses * size_of::<Address>()
}

/// All that a shard has to do.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order.
    pub deliveries: Vec<Delivery>,
    /// The shard was away for so long that something was not kept: every connection that came through this port is behind for good and
    /// must be ended as too slow, after the deliveries or instead of them.
    pub overrun: bool,
}

#[derive(Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    /// Those and what is promised to publishers that are just delivering.
    events: usize,
    bytes: usize,
    overrun: bool,
}

impl Queue {
    fn has_room(&self, bytes: usize, times: usize) -> bool {
        self.events == 0
            || (self.events < PORT_EVENTS * times && self.bytes + bytes <= PORT_BYTES * times)
    }
}

/// Filled by exchanges, emptied by the shard's thread. A plain mutex below the exchanges': held for one push or one swap.
struct Shared {
    queue: Mutex<Queue>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A shard's door for events, made once a shard and shared by all its connections, whichever exchange they are in. Clones are the same port.
#[derive(Clone)]
pub struct Port(Arc<Shared>);

impl Port {
    /// `wake` is called, from any thread and under no lock of ours, when there is something again.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::default(),
            wake: Box::new(wake),
        }))
    }

    /// Takes all that is to be done. What is not taken holds publishers back: a shard takes the next only when it is done with the last.
    pub fn take(&self) -> Taken {
        let mut queue = self.lock();
        let deliveries = std::mem::take(&mut queue.deliveries);
        let overrun = std::mem::take(&mut queue.overrun);
        queue.events = queue.events.saturating_sub(deliveries.len());
        queue.bytes = queue
            .bytes
            .saturating_sub(deliveries.iter().map(Delivery::weight).sum());
        Taken {
            deliveries,
            overrun,
        }
    }

    /// Whether there is nothing to be taken.
    pub fn is_empty(&self) -> bool {
        let queue = self.lock();
        queue.deliveries.is_empty() && !queue.overrun
    }

    /// Queues an answer behind the events that are on their way. For the shard itself, which takes it when its turn comes.
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

    /// Keeps a place for a delivery of this weight; `false`: there is none.
    pub(super) fn promise(&self, weight: usize) -> bool {
        let mut queue = self.lock();
        let room = !queue.overrun && queue.has_room(weight, 1);
        if room {
            queue.events += 1;
            queue.bytes += weight;
        }
        room
    }

    /// Gives a promised place back.
    pub(super) fn release(&self, weight: usize) {
        let mut queue = self.lock();
        queue.events = queue.events.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(weight);
    }

    /// Fills a promised place; says whether to wake.
    pub(super) fn fill(&self, delivery: Delivery) -> bool {
        let mut queue = self.lock();
        let wake = queue.deliveries.is_empty() && !queue.overrun;
        queue.deliveries.push(delivery);
        wake
    }

    /// Adds what can't be refused, or if the shard is hopelessly behind, notes that. Says whether to wake.
    pub(super) fn force(&self, delivery: Delivery) -> bool {
        let mut queue = self.lock();
        if queue.overrun {
            return false;
        }
        let weight = delivery.weight();
        if !queue.has_room(weight, HEADROOM) {
            queue.overrun = true;
            return queue.deliveries.is_empty();
        }
        let wake = queue.deliveries.is_empty();
        queue.events += 1;
        queue.bytes += weight;
        queue.deliveries.push(delivery);
        wake
    }

    pub(super) fn wake(&self) {
        (self.0.wake)();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::exchange::Body;

    fn delivery(addresses: u32) -> Delivery {
        let event = Arc::new(Event::new(1, 0, Box::default(), Body::State(Vec::new())));
        let to = (0..addresses)
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
    fn promises_count_until_taken() {
        let port = Port::new(|| {});
        for _ in 0..PORT_EVENTS {
            assert!(port.promise(8));
        }
        assert!(!port.promise(8), "full of promises");
        port.release(8);
        assert!(port.promise(8));
        for n in 0..PORT_EVENTS {
            assert_eq!(port.fill(delivery(1)), n == 0, "one wake-up for a burst");
        }
        assert!(!port.promise(8));
        assert_eq!(port.take().deliveries.len(), PORT_EVENTS);
        let queue = port.lock();
        assert_eq!((queue.events, queue.bytes), (0, 0), "nothing is left");
    }

    #[test]
    fn one_huge_event_fits_an_empty_queue_only() {
        let port = Port::new(|| {});
        assert!(port.promise(PORT_BYTES * 3));
        assert!(!port.promise(1));
    }

    #[test]
    fn what_cannot_be_refused_overruns_in_the_end() {
        let port = Port::new(|| {});
        for _ in 0..PORT_EVENTS * HEADROOM {
            port.force(delivery(1));
        }
        assert!(!port.force(delivery(1)));
        let taken = port.take();
        assert_eq!(
            (taken.deliveries.len(), taken.overrun),
            (PORT_EVENTS * HEADROOM, true)
        );
        assert!(port.force(delivery(1)), "and then it goes on");
        assert!(!port.take().overrun);
    }
}
