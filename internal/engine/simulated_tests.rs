//! The actor, driven by a simulator: no runtime, no timer; time and answers come when the simulator says so.

use futures_util::FutureExt;

use super::*;
use crate::engine::Engine;
use crate::ident::Topic;

/// So many steps without time passing are a loop that never rests.
const RESTLESS: usize = 1_000;

/// An engine that does only what it is told to, by whoever owns it.
pub(crate) struct Actor(Refresh);

impl Actor {
    /// The actor of an engine.
    pub(crate) fn new(engine: &Engine, parts: Parts) -> Self {
        Self(Refresh::new(Arc::clone(&engine.shared), parts))
    }

    /// Does whatever [`Refresh::run`] would do before time passes. False: it would never rest.
    pub(crate) fn act(&mut self) -> bool {
        for _ in 0..RESTLESS {
            let answered = self.0.running.next().now_or_never().flatten();
            let event = match answered {
                Some(event) => event,
                None if self.0.shared.wake.notified().now_or_never().is_some() => Event::Woken,
                None if self.deadline().is_some_and(|at| at <= instant()) => Event::Woken,
                None => return true,
            };
            self.0.handle(event);
        }
        false
    }

    /// When it acts although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// Whether the key is marked, or will be without anybody's doing.
    pub(crate) fn is_pending(&self, topic: &Topic) -> bool {
        self.0.shared.lock().dirty.is_pending(topic)
    }
}
