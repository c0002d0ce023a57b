//! The bounded queue of a connection in a Tokio task. No publisher ever waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::BusEvent;

/// The maximum number of queued events of one connection. The next event disconnects it.
pub const MAX_MAILBOX_EVENTS: usize = 256;

/// The reason why the server ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The connection did not take its events in time.
    #[error("too slow")]
    TooSlow,
    /// The app ended the connection, for the given reason.
    #[error("{0}")]
    Kicked(&'static str),
}

#[derive(Default)]
pub(super) struct MailboxState {
    pub(super) events: VecDeque<Arc<BusEvent>>,
    pub(super) end_reason: Option<DisconnectReason>,
    /// The waker of the task that waits for the next event.
    pub(super) waker: Option<Waker>,
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
    pub(super) fn lock(&self) -> MutexGuard<'_, MailboxState> {
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
