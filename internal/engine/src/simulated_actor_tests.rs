//! The actor under the control of a simulator: no runtime and no timers. The simulator provides
//! time and query results.

use futures_util::FutureExt;

use super::*;
use crate::Engine;
use latido_base::ident::Topic;

/// The number of steps without passing time that counts as an endless loop.
const MAX_STEPS: usize = 1_000;

/// An engine that acts only when its owner calls it.
#[expect(
    missing_debug_implementations,
    reason = "a test drives it; the actor inside has no readable form"
)]
pub struct SimulatedActor(EngineActor);

impl SimulatedActor {
    /// Creates the actor of an engine.
    pub fn new(engine: &Engine, parts: EngineDeps) -> Self {
        Self(EngineActor::new(Arc::clone(&engine.shared), parts))
    }

    /// Does everything that [`EngineActor::run`] would do before time passes. Returns `false` if it
    /// would never rest.
    pub fn run_until_idle(&mut self) -> bool {
        for _ in 0..MAX_STEPS {
            let result = self.0.statements.next().now_or_never().flatten();
            let result = result.or_else(|| self.0.histories.next().now_or_never().flatten());
            let event = match result {
                Some(event) => event,
                None if self.0.shared.wake.notified().now_or_never().is_some() => {
                    EngineEvent::Woken
                }
                None if self.0.sleep_changes.take() => EngineEvent::Woken,
                None if self.deadline().is_some_and(|at| at <= monotonic_now()) => {
                    EngineEvent::Woken
                }
                None => return true,
            };
            self.0.handle_event(event);
        }
        false
    }

    /// Returns the time of the next timer, or `None` if there is none.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// Returns whether the key is marked, or will be by a timer, or when its stream works again.
    pub fn is_pending(&self, topic: &Topic) -> bool {
        self.0.deps.catalog.status(topic.stream).is_broken() || self.is_marked(topic)
    }

    /// Returns whether the topic's key moved, and will be read again when transactions have ended.
    pub fn is_moved(&self, topic: &Topic) -> bool {
        let state = self.0.shared.lock();
        state.moved.is_waiting(&topic.without_params())
    }

    /// Returns whether the key is marked, or will be by a timer.
    pub fn is_marked(&self, topic: &Topic) -> bool {
        self.0.shared.lock().dirty.is_pending(topic)
    }
}
