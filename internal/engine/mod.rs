//! From «this key may have changed» to a published snapshot, with one query for any number of hints and viewers.
//!
//! [`Engine`] is the one door: hints come in from any thread and are merged into the dirty set. One actor ([`Engine::run`]) takes
//! batches out of it, reads each with one statement, and publishes what differs. It also owns the two things that change numbers
//! without a row changing: midnight, and doubt (the sweep, and the resync after missed notifications).

mod ailing;
mod batch;
mod calendar;
mod corrections;
mod cost;
mod dirty;
mod heat;
mod interest;
mod key;
mod lanes;
mod outage;
mod pace;
mod parts;
mod reader;
mod refresh;
mod source;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::clock::instant;
use crate::hub::Observer;
use crate::ident::{StreamId, Topic};
use crate::stream::Catalog;
use crate::telemetry::Metrics;

use corrections::Corrections;
use dirty::{Dirty, Mark};
use heat::Turn;
pub use interest::{Arming, Interest, NoInterest};
pub use pace::Pace;
pub use parts::Parts;
pub use reader::{Answer, ReadError, Reader, Reading};
#[cfg(test)]
pub(crate) use refresh::simulated::Actor;
pub use source::Source;
use source::Sources;

/// How long the first read of a key waits for its writers to be told that it is watched. Usually that takes a fraction of a millisecond,
/// and tens of them when ten thousand clients come back at once, which is no moment to read each key twice. A long transaction that
/// changed the key in silence can hold it up for longer; then the key is read now, and again.
const ARMING: Duration = Duration::from_millis(100);

/// How the engine works.
#[derive(Debug, Clone)]
pub struct Config {
    /// How keys are gathered and paced.
    pub pace: Pace,
    /// How often everything watched is read again while notifications arrive.
    pub sweep: Duration,
    /// The same while none do.
    pub sweep_deaf: Duration,
    /// How long the database may be away before viewers are told.
    pub stale_after: Duration,
    /// How many slow or failing keys may be read beside the batches.
    pub solo_lanes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pace: Pace::default(),
            sweep: Duration::from_secs(30),
            sweep_deaf: Duration::from_secs(5),
            stale_after: Duration::from_secs(1),
            solo_lanes: 2,
        }
    }
}

/// The key could not be read now. It stays marked and will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statistics could not be read; the change stays marked and is retried")]
pub struct Unsettled;

/// Whoever waits for a read: told whether it succeeded.
type Waiter = oneshot::Sender<bool>;

struct State {
    dirty: Dirty<Waiter>,
    corrections: Corrections,
}

struct Shared {
    /// Written by every source of hints, emptied by the actor; held for look-ups only.
    state: Mutex<State>,
    /// Rung when something was added to `state` that the actor should look at.
    wake: Notify,
    /// Triggers are installed and their notifications arrive, so that nothing else is needed. Relaxed: a hint for pacing alone.
    covered: AtomicBool,
    interest: Arc<dyn Interest>,
    metrics: Arc<Metrics>,
}

/// The one door for hints. Clones share one engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// An engine that takes hints from now on, and acts on them once it [runs](Engine::run).
    pub fn new(
        config: &Config,
        catalog: &Catalog,
        interest: Arc<dyn Interest>,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.reads.expect(Source::ALL.map(Source::as_str));
        metrics
            .changes_received
            .expect(Source::ALL.map(Source::as_str));
        metrics.read_failures.expect(["unavailable", "rejected"]);
        metrics.checks.expect(refresh::CHECK_RESULTS);
        let dirty = Dirty::new(config.pace.clone(), catalog.iter().count());
        let state = Mutex::new(State {
            dirty,
            corrections: Corrections::default(),
        });
        let shared = Shared {
            state,
            wake: Notify::new(),
            covered: AtomicBool::new(false),
            interest,
            metrics,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What tells this engine, as the hub's observer, which topics have viewers.
    pub fn observer(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }

    /// Reads and publishes until the server stops.
    pub async fn run(self, parts: Parts) {
        refresh::Refresh::new(self.shared, parts).run().await;
    }

    /// This key may have changed.
    pub fn changed(&self, topic: &Topic, source: Source) {
        let mut state = self.lock();
        state.corrections.explain(topic);
        let mark = state.dirty.mark(topic, source, instant());
        drop(state);
        self.note(mark, source);
    }

    /// The writers of these keys tell of their changes from now on: what they changed in silence is read now.
    pub fn armed(&self, topics: &[Topic]) {
        let now = instant();
        let mut state = self.lock();
        topics
            .iter()
            .for_each(|topic| state.dirty.armed(topic, now));
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Every watched key may have changed; or every one of a stream.
    pub fn everything(&self, stream: Option<StreamId>, source: Source) {
        self.lock().dirty.mark_all(stream, source, instant());
        self.shared.metrics.changes_received.add(source.as_str());
        self.shared.wake.notify_one();
    }

    /// The hook's hint: resolves when the key was read, or at once if nobody watches it. Where triggers don't cover its caller, the key
    /// is read again a few times, since the caller may not have committed yet.
    pub fn settle(
        &self,
        topic: &Topic,
    ) -> impl Future<Output = Result<(), Unsettled>> + Send + 'static + use<> {
        let (tell, told) = oneshot::channel();
        let now = instant();
        let mut state = self.lock();
        state.corrections.explain(topic);
        let mark = state.dirty.mark(topic, Source::Hook, now);
        state.dirty.wait(topic, tell);
        if !self.shared.covered.load(Ordering::Relaxed) {
            state.dirty.remind(topic, now);
        }
        drop(state);
        self.note(mark, Source::Hook);
        // An error of the channel: the last viewer left meanwhile, and with him the need to read.
        async move {
            if told.await.unwrap_or(true) {
                Ok(())
            } else {
                Err(Unsettled)
            }
        }
    }

    /// Says whether triggers are installed and notifications arrive.
    pub fn set_covered(&self, covered: bool) {
        self.shared.covered.store(covered, Ordering::Relaxed);
        self.shared.wake.notify_one();
    }

    /// How many keys wait to be read.
    pub fn dirty_keys(&self) -> usize {
        self.lock().dirty.waiting()
    }

    fn note(&self, mark: Mark, source: Source) {
        let metrics = &self.shared.metrics;
        metrics.changes_received.add(source.as_str());
        match mark {
            Mark::Unwatched => drop(metrics.changes_unwatched.inc()),
            Mark::Coalesced => drop(metrics.changes_coalesced.inc()),
            Mark::Marked => self.shared.wake.notify_one(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has writers of keys that became hot fall silent, and those of keys that cooled down tell again.
    fn turn(&self, dirty: &mut Dirty<Waiter>, now: Instant) {
        for (topic, turn) in dirty.take_turns() {
            match turn {
                Turn::Hot => {
                    if self.interest.relax(&topic) {
                        self.metrics.hot_keys.inc();
                        dirty.time(&topic, now);
                    }
                }
                // While they are being told, the timer goes on.
                Turn::Cool => match self.interest.watch(&topic) {
                    Arming::Armed | Arming::Unknown => dirty.armed(&topic, now),
                    Arming::Soon => {}
                },
            }
        }
    }
}

/// Called under the hub's lock, which is always taken before the engine's.
impl Observer for Engine {
    fn watched(&self, topic: &Topic) {
        let now = instant();
        let mut state = self.lock();
        state.dirty.watch(topic);
        match self.shared.interest.watch(topic) {
            Arming::Armed | Arming::Unknown => state.dirty.armed(topic, now),
            Arming::Soon => state.dirty.provide(topic, now + ARMING),
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    fn unwatched(&self, topic: &Topic) {
        let mut state = self.lock();
        state.dirty.unwatch(topic);
        self.shared.interest.unwatch(topic);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}
