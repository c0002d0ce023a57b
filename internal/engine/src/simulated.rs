//! The actor under the control of a simulator: no runtime and no timers. The simulator provides
//! time and query results.

use futures_util::FutureExt;

use super::*;
use crate::Engine;
use latido_base::ident::Topic;

/// The number of steps without passing time that counts as an endless loop.
const RESTLESS: usize = 1_000;

/// An engine that acts only when its owner calls it.
pub struct Actor(Refresh);

impl Actor {
    /// Creates the actor of an engine.
    pub fn new(engine: &Engine, parts: Parts) -> Self {
        Self(Refresh::new(Arc::clone(&engine.shared), parts))
    }

    /// Does everything that [`EngineActor::run`] would do before time passes. Returns `false` if it
    /// would never rest.
    pub fn act(&mut self) -> bool {
        for _ in 0..RESTLESS {
            let result = self.0.running.next().now_or_never().flatten();
            let event = match result {
                Some(event) => event,
                None if self.0.shared.wake.notified().now_or_never().is_some() => Event::Woken,
                None if self.deadline().is_some_and(|at| at <= monotonic_now()) => Event::Woken,
                None => return true,
            };
            self.0.handle(event);
        }
        false
    }

    /// Returns the time of the next timer, or `None` if there is none.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// Returns whether the key is marked, or will be by a timer.
    pub fn is_pending(&self, topic: &Topic) -> bool {
        self.0.shared.lock().dirty.is_pending(topic)
    }
}
