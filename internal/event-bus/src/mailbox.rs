//! The receiving end of a connection in a Tokio task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::mailbox_queue::MailboxQueue;
use crate::{
    BusEvent, ConnectionId, ConnectionSlot, DisconnectReason, EncodingId, EventBus, EventQueue,
    Identity, JoinError, JoinRequest,
};

/// The capacity, in events, that a mailbox keeps after it has been emptied.
const RETAINED_CAPACITY: usize = 8;

impl EventBus {
    /// Adds a connection that runs as a Tokio task and joins these topics. Dropping the mailbox
    /// removes the connection.
    pub fn connect(
        self: &Arc<Self>,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<Mailbox, JoinError> {
        let (id, queue) =
            self.with_state(|state, wakes| state.connect_mailbox(identity, joins, wakes))?;
        Ok(Mailbox {
            bus: Arc::clone(self),
            id,
            queue,
            is_moved: false,
        })
    }
}

/// A connection of an event bus in a Tokio task. Dropping it leaves all topics.
pub struct Mailbox {
    bus: Arc<EventBus>,
    id: ConnectionId,
    queue: Arc<MailboxQueue>,
    /// Set when the connection lives on a shard from now on.
    is_moved: bool,
}

/// A connection that has moved from its mailbox to a shard.
#[derive(Debug)]
pub struct MovedConnection {
    /// The connection's id, which has not changed. The owner must call [`EventBus::disconnect`]
    /// when the connection ends.
    pub id: ConnectionId,
    /// The events that were still in the mailbox. They precede every event of the shard's queue.
    pub events: Vec<Arc<BusEvent>>,
    /// The reason for which the connection has ended already, if it has.
    pub end_reason: Option<DisconnectReason>,
}

impl Mailbox {
    /// Returns the connection's id, needed to join and to publish.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Waits for the next event, in order. Cancel-safe.
    ///
    /// # Errors
    /// Returns the reason once the connection has ended and its queued events are read. Every later
    /// call returns it again. A connection that was too slow loses its queued events.
    pub fn recv(&mut self) -> impl Future<Output = Result<Arc<BusEvent>, DisconnectReason>> + Send {
        poll_fn(|context| self.poll_recv(context))
    }

    /// Polls for the next event. Variant of [`Mailbox::recv`] for hand-written futures.
    pub fn poll_recv(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Arc<BusEvent>, DisconnectReason>> {
        let mut state = self.queue.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Ok(event));
        }
        if let Some(end) = state.end_reason {
            return Poll::Ready(Err(end));
        }
        if state.events.capacity() > RETAINED_CAPACITY {
            state.events = VecDeque::new();
        }
        let old = match &mut state.waker {
            Some(waker) if waker.will_wake(context.waker()) => None,
            waker => waker.replace(context.waker().clone()),
        };
        drop(state);
        // Dropping a waker may run foreign code, so it must not happen under a lock.
        drop(old);
        Poll::Pending
    }

    /// Moves the connection to a shard, with all its topics. No event is lost, doubled or
    /// reordered.
    pub fn move_to_shard(
        mut self,
        queue: &EventQueue,
        encoding: EncodingId,
        slot: ConnectionSlot,
    ) -> MovedConnection {
        let id = self.id;
        self.bus.with_state(|state, _| {
            let group = state.fan_out.group(queue, encoding);
            state.connections.move_to_shard(id, group, slot);
        });
        self.is_moved = true;
        let mut state = self.queue.lock();
        MovedConnection {
            id,
            events: std::mem::take(&mut state.events).into(),
            end_reason: state.end_reason,
        }
    }

    /// Returns the next event if one is queued, or the end of the connection.
    pub fn try_recv(&mut self) -> Option<Result<Arc<BusEvent>, DisconnectReason>> {
        let mut state = self.queue.lock();
        state
            .events
            .pop_front()
            .map(Ok)
            .or(state.end_reason.map(Err))
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        if !self.is_moved {
            self.bus.disconnect(self.id);
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
