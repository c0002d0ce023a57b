//! The receiving end of a connection in a Tokio task: a bounded queue, for which no publisher ever
//! waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{BusEvent, ConnectionId, EventBus};

/// The maximum number of queued events of one connection. The next event disconnects it.
pub const MAX_MAILBOX_EVENTS: usize = 256;
/// The capacity, in events, that a mailbox keeps after it has been emptied.
const RETAINED_CAPACITY: usize = 8;

/// The reason why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The connection did not take its events in time.
    TooSlow,
    /// The app ended the connection, for the given reason.
    Kicked(&'static str),
}

#[derive(Default)]
struct MailboxState {
    events: VecDeque<Arc<BusEvent>>,
    end_reason: Option<DisconnectReason>,
    /// The waker of the task that waits for the next event.
    waker: Option<Waker>,
}

/// The queue of a mailbox. It is filled under the bus's lock and emptied by the connection's task.
/// In the lock order, its mutex comes after that of the bus; it is held for one push or one pop.
#[derive(Default)]
pub(super) struct MailboxQueue {
    state: Mutex<MailboxState>,
}

/// The outcome of pushing an event to a mailbox.
pub(super) enum PushOutcome {
    /// The event is queued. The task must be woken if there is a waker.
    Queued(Option<Waker>),
    /// The queue was full, and the connection has just been ended.
    Overflow(Option<Waker>),
    /// The connection had already ended.
    Ended,
}

impl MailboxQueue {
    fn lock(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, event: &Arc<BusEvent>) -> PushOutcome {
        let mut state = self.lock();
        if state.end_reason.is_some() {
            return PushOutcome::Ended;
        }
        if state.events.len() == MAX_MAILBOX_EVENTS {
            state.end_reason = Some(DisconnectReason::TooSlow);
            // The connection is to be closed, so it needs the events no more. A slow client must
            // not keep them in memory.
            state.events = VecDeque::new();
            return PushOutcome::Overflow(state.waker.take());
        }
        state.events.push_back(Arc::clone(event));
        PushOutcome::Queued(state.waker.take())
    }

    /// Ends the connection unless it has already ended. Queued events can still be read before the
    /// end.
    pub(super) fn close(&self, end: DisconnectReason) -> Option<Waker> {
        let mut state = self.lock();
        state.end_reason.get_or_insert(end);
        state.waker.take()
    }
}

/// A connection of an event bus in a Tokio task. Dropping it leaves all topics.
pub struct Mailbox {
    bus: Arc<EventBus>,
    id: ConnectionId,
    queue: Arc<MailboxQueue>,
}

impl Mailbox {
    pub(super) fn new(bus: Arc<EventBus>, id: ConnectionId, queue: Arc<MailboxQueue>) -> Self {
        Self { bus, id, queue }
    }

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
        self.bus.disconnect(self.id);
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
