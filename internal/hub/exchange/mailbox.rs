//! The end of a connection that lives in tokio: a bounded queue that is never waited for.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::hub::exchange::{ConnId, Event, Exchange};

/// Events that a connection may be behind. The next one ends it.
pub const MAILBOX: usize = 256;
/// Room for so many that a connection keeps when it has read them all.
const KEPT: usize = 8;

/// Why a connection was ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It did not take its events.
    TooSlow,
    /// The app wanted so, and says why.
    Dismissed(&'static str),
}

#[derive(Default)]
struct Letters {
    events: VecDeque<Arc<Event>>,
    end: Option<End>,
    /// Who waits for the next one.
    waker: Option<Waker>,
}

/// Filled under the exchange's lock, emptied by the connection's task. A plain mutex below the exchange's: held for one push or one pop.
#[derive(Default)]
pub(super) struct Letterbox {
    letters: Mutex<Letters>,
}

/// What became of an event for a mailbox.
pub(super) enum Posted {
    /// It is in; somebody may have to be woken.
    In(Option<Waker>),
    /// It was one too many: the connection has just ended.
    Overflow(Option<Waker>),
    /// The connection had ended before.
    Ended,
}

impl Letterbox {
    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn post(&self, event: &Arc<Event>) -> Posted {
        let mut letters = self.lock();
        if letters.end.is_some() {
            return Posted::Ended;
        }
        if letters.events.len() == MAILBOX {
            letters.end = Some(End::TooSlow);
            // Whoever is to be closed needs them no more; a slow client must not keep them in memory.
            letters.events = VecDeque::new();
            return Posted::Overflow(letters.waker.take());
        }
        letters.events.push_back(Arc::clone(event));
        Posted::In(letters.waker.take())
    }

    /// Ends it, unless it has ended; what is queued is still read before.
    pub(super) fn end(&self, end: End) -> Option<Waker> {
        let mut letters = self.lock();
        letters.end.get_or_insert(end);
        letters.waker.take()
    }
}

/// A connection of an exchange. It leaves all its topics when dropped.
pub struct Mailbox {
    exchange: Arc<Exchange>,
    id: ConnId,
    letterbox: Arc<Letterbox>,
}

impl Mailbox {
    pub(super) fn new(exchange: Arc<Exchange>, id: ConnId, letterbox: Arc<Letterbox>) -> Self {
        Self {
            exchange,
            id,
            letterbox,
        }
    }

    /// The connection's name, to join and publish with.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The next event, in order. Cancel-safe. An end is final: it comes behind the last event, and from then on it is all there is;
    /// a connection that was too slow loses what is still queued.
    pub fn recv(&mut self) -> impl Future<Output = Result<Arc<Event>, End>> + Send {
        poll_fn(|context| self.poll_recv(context))
    }

    /// The same for hand-written futures.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Event>, End>> {
        let mut letters = self.letterbox.lock();
        if let Some(event) = letters.events.pop_front() {
            return Poll::Ready(Ok(event));
        }
        if let Some(end) = letters.end {
            return Poll::Ready(Err(end));
        }
        if letters.events.capacity() > KEPT {
            letters.events = VecDeque::new();
        }
        let old = match &mut letters.waker {
            Some(waker) if waker.will_wake(context.waker()) => None,
            waker => waker.replace(context.waker().clone()),
        };
        drop(letters);
        // Dropping a waker may run code of a stranger: never under a lock.
        drop(old);
        Poll::Pending
    }

    /// The next event if there is one already.
    pub fn try_recv(&mut self) -> Option<Result<Arc<Event>, End>> {
        let mut letters = self.letterbox.lock();
        letters.events.pop_front().map(Ok).or(letters.end.map(Err))
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.exchange.disconnect(self.id);
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
