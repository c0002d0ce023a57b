//! The entry point for change hints.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::missed_changes::MissedChanges;
use crate::moved_keys::MovedKeys;
use tokio::sync::{Notify, oneshot};

use crate::actor::EngineActor;
use crate::config::Config;
use crate::deps::EngineDeps;
use crate::dirty_set::{DirtySet, MarkOutcome};
use crate::hint_source::HintSource;
use crate::history_queue::{HISTORY_RESULTS, HistoryQueue};
use crate::shared::{EngineShared, EngineState, HistoryRequest};
use crate::verification_rotation::VERIFICATION_RESULTS;
use latido_base::clock::monotonic_now;
use latido_base::ident::{Channel, Key, StreamId, Topic};
use latido_base::sleep::Sleep;
use latido_hub::{HistoryReply, WatchObserver};
use latido_stream::{Catalog, ChangeHint, HintSink, Interest, NotifyState, WatchLockEvent};
use latido_telemetry::Metrics;

/// The longest time that the first read of a key waits for its writers' notifications to be
/// enabled. Usually they are enabled within a fraction of a millisecond. It takes tens of
/// milliseconds when ten thousand clients come back at once, which is no moment to read each key
/// twice. A long transaction that changed the key without a notification can take longer; then the
/// key is read now, and once more afterwards.
const FIRST_READ_WAIT: Duration = Duration::from_millis(100);

/// The error for a key that could not be read now. It stays marked and is read later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the statistics could not be read; the change stays marked and is retried")]
pub struct ReadFailed;

/// The entry point for change hints. Clones share one engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) shared: Arc<EngineShared>,
}

impl Engine {
    /// Creates an engine that accepts hints at once and acts on them once it [runs](Engine::run).
    pub fn new(
        config: &Config,
        catalog: &Catalog,
        interest: Arc<dyn Interest>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self::with_sleep(config, catalog, interest, metrics, Sleep::new(None))
    }

    /// Creates an engine for a database whose connections may sleep. It wakes them before a topic is
    /// first read.
    pub fn with_sleep(
        config: &Config,
        catalog: &Catalog,
        interest: Arc<dyn Interest>,
        metrics: Arc<Metrics>,
        sleep: Sleep,
    ) -> Self {
        metrics
            .reads
            .init_labels(HintSource::ALL.map(HintSource::as_str));
        metrics
            .changes_received
            .init_labels(HintSource::ALL.map(HintSource::as_str));
        metrics
            .read_failures
            .init_labels(["unavailable", "rejected", "broken"]);
        metrics.verifications.init_labels(VERIFICATION_RESULTS);
        metrics.histories.init_labels(HISTORY_RESULTS);
        let state = Mutex::new(EngineState {
            dirty: DirtySet::new(Vec::new()),
            missed_changes: MissedChanges::default(),
            moved: MovedKeys::default(),
            history: HistoryQueue::new(config.history_statements),
        });
        let shared = EngineShared {
            state,
            pacing: config.pacing.clone(),
            wake: Notify::new(),
            triggers_complete: AtomicBool::new(false),
            interest,
            sleep,
            metrics,
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        engine.add_streams(catalog);
        engine
    }

    /// Adds the streams that the catalog has beyond those known here. Must be called before one of
    /// them is listed, because from then on it may have viewers.
    pub fn add_streams(&self, catalog: &Catalog) {
        let mut state = self.lock();
        let first = state.dirty.stream_count();
        for (_, stream) in catalog.all_from(first) {
            let pacing = self.shared.pacing.clone();
            state.dirty.add_stream(match stream.interval {
                Some(interval) => pacing.with_interval(interval),
                None => pacing,
            });
        }
        state.moved.add_streams(catalog, first);
        drop(state);
        let names = catalog.all_from(first).map(|(_, stream)| &stream.name);
        let corrections = &self.shared.metrics.stream_corrections;
        corrections.init_labels(names.cloned());
        self.shared.wake.notify_one();
    }

    /// Forgets the counts of streams whose name is not served any more. Must be called after other
    /// streams were listed.
    pub fn forget_removed_streams(&self, catalog: &Catalog) {
        let corrections = &self.shared.metrics.stream_corrections;
        corrections.retain_labels(|name| catalog.find(name).is_some());
    }

    /// Returns this engine as an observer of the hub, which reports the topics that have viewers.
    pub fn observer(&self) -> Box<dyn WatchObserver> {
        Box::new(self.clone())
    }

    /// Reads and publishes until the server stops.
    pub async fn run(self, parts: EngineDeps) {
        EngineActor::new(self.shared, parts).run().await;
    }

    /// Records a hint that this key may have changed: all its topics, whatever their parameters.
    pub fn changed(&self, key: &Topic, source: HintSource) {
        let now = monotonic_now();
        let mut state = self.lock();
        let outcome = state.mark_key(&key.without_params(), source, now);
        drop(state);
        self.count_hint(outcome, source);
    }

    /// Records that rows moved to these keys of the stream, or to any key with `None`: they are read
    /// now, and again once every transaction that is open now has ended.
    fn moved(&self, stream: StreamId, keys: Option<&[Key]>) {
        let now = monotonic_now();
        let Some(keys) = keys else {
            self.lock().moved.add_every_key(stream, now);
            return self.mark_all(Some(stream), HintSource::Move);
        };
        for key in keys {
            let key = key.without_params();
            let key = Topic { stream, key };
            self.lock().moved.add(&key, now);
            self.changed(&key, HintSource::Move);
        }
        self.shared.wake.notify_one();
    }

    /// Records that rows of these streams may have moved to any key. They need not be read now.
    fn moves_are_unknown(&self, streams: &[StreamId]) {
        let now = monotonic_now();
        let mut state = self.lock();
        for stream in streams {
            state.moved.add_every_key(*stream, now);
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Marks these keys for a read: their writers send notifications from now on, and changes made
    /// before without a notification must be read.
    pub fn notifications_enabled(&self, topics: &[Topic]) {
        let now = monotonic_now();
        let mut state = self.lock();
        topics
            .iter()
            .for_each(|topic| state.dirty.notifications_enabled(topic, now));
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Marks every watched key, or every watched key of one stream.
    pub fn mark_all(&self, stream: Option<StreamId>, source: HintSource) {
        self.lock().dirty.mark_all(stream, source, monotonic_now());
        self.shared
            .metrics
            .changes_received
            .increment(source.as_str());
        self.shared.wake.notify_one();
    }

    /// Wakes the connections to the database for a client that cannot watch anything yet.
    pub fn wake_database(&self) {
        self.shared.sleep.touch();
    }

    /// Records the hook's hint. The future resolves when all topics of the key were read, or at once
    /// if it has no viewers. If triggers do not cover the writer, the key is read again a few times,
    /// because the request to the hook may precede the commit. Wakes the connections to the database:
    /// its caller is using it, so a viewer is served sooner at no cost.
    pub fn read_now(
        &self,
        key: &Topic,
    ) -> impl Future<Output = Result<(), ReadFailed>> + Send + 'static + use<> {
        self.shared.sleep.touch();
        let now = monotonic_now();
        let rechecks = !self.shared.triggers_complete.load(Ordering::Relaxed);
        let mut state = self.lock();
        let key = key.without_params();
        let outcome = state.mark_key(&key, HintSource::Hook, now);
        let mut results = Vec::new();
        for topic in &state.dirty.topics_of_key(&key) {
            let (sender, result) = oneshot::channel();
            state.dirty.add_waiter(topic, sender);
            results.push(result);
            if rechecks {
                state.dirty.schedule_recheck(topic, now);
            }
        }
        drop(state);
        self.count_hint(outcome, HintSource::Hook);
        async move {
            let mut succeeded = true;
            for result in results {
                // The channel fails when the last viewer left meanwhile; then the read is not
                // needed.
                succeeded &= result.await.unwrap_or(true);
            }
            succeeded.then_some(()).ok_or(ReadFailed)
        }
    }

    /// Sets whether all triggers are installed and their notifications arrive.
    pub fn set_triggers_complete(&self, covered: bool) {
        self.shared
            .triggers_complete
            .store(covered, Ordering::Relaxed);
        self.shared.wake.notify_one();
    }

    /// Returns the number of keys that wait to be read.
    pub fn dirty_keys(&self) -> usize {
        self.lock().dirty.pending_keys()
    }

    /// Returns the number of keys that wait for the transactions that were open when rows moved to
    /// them.
    pub fn moved_keys(&self) -> usize {
        self.lock().moved.waiting_keys()
    }

    /// Returns the number of keys that will be read again although nothing changes. For
    /// tests: at zero, every read so far is finished and counted.
    pub fn unsettled_keys(&self) -> usize {
        let state = self.lock();
        state.dirty.unsettled_keys() + state.moved.waiting_keys()
    }

    /// Returns whether all triggers are installed and their notifications arrive. For tests.
    pub fn has_complete_triggers(&self) -> bool {
        self.shared.triggers_complete.load(Ordering::Relaxed)
    }

    /// Counts a hint for one key, whose topics were marked so.
    fn count_hint(&self, outcome: MarkOutcome, source: HintSource) {
        let metrics = &self.shared.metrics;
        metrics.changes_received.increment(source.as_str());
        match outcome {
            MarkOutcome::Marked => self.shared.wake.notify_one(),
            MarkOutcome::Coalesced => {
                metrics.changes_coalesced.inc();
            }
            MarkOutcome::Unwatched => {
                metrics.changes_unwatched.inc();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, EngineState> {
        self.shared.lock()
    }
}

impl HintSink for Engine {
    fn on_hint(&self, hint: &ChangeHint) {
        match hint {
            ChangeHint::Changed { stream, keys } => {
                for key in keys {
                    let topic = Topic {
                        stream: *stream,
                        key: key.clone(),
                    };
                    self.changed(&topic, HintSource::Trigger);
                }
            }
            ChangeHint::Moved { stream, keys } => self.moved(*stream, keys.as_deref()),
            ChangeHint::Everything(stream) => self.mark_all(*stream, HintSource::Trigger),
            // Reading after a loss as well shows at once if the database is unavailable, and
            // notifies viewers if so.
            ChangeHint::Lost => self.mark_all(None, HintSource::Resync),
            // A move may have been among the missed notifications.
            ChangeHint::Listening => {
                self.lock().moved.add_everything(monotonic_now());
                self.mark_all(None, HintSource::Resync);
            }
            ChangeHint::NotDelivering | ChangeHint::App(_) | ChangeHint::Payloads { .. } => {}
        }
    }

    fn on_watch_locks(&self, event: &WatchLockEvent) {
        match event {
            WatchLockEvent::NotificationsEnabled(topics) => self.notifications_enabled(topics),
            WatchLockEvent::MovesNotified(streams) => self.moves_are_unknown(streams),
            // Until the locks are held again the sweep runs at a shorter interval. Then all keys
            // are read.
            WatchLockEvent::Lost => self.set_triggers_complete(false),
        }
    }
}

/// The hub calls these methods under its lock. The lock order is: the hub's lock first, then the
/// engine's.
impl WatchObserver for Engine {
    fn on_watched(&self, topic: &Topic) {
        // First: from here on nothing is closed, and no read starts before everything is open.
        self.shared.sleep.watch();
        let now = monotonic_now();
        let mut state = self.lock();
        state.dirty.watch(topic);
        state.moved.watch(topic, now);
        match self.shared.interest.watch(topic) {
            NotifyState::Enabled | NotifyState::Unknown => {
                state.dirty.notifications_enabled(topic, now)
            }
            NotifyState::Pending => state
                .dirty
                .schedule_first_read(topic, now + FIRST_READ_WAIT),
        }
        drop(state);
        self.shared.wake.notify_one();
    }

    fn on_unwatched(&self, topic: &Topic) {
        let mut state = self.lock();
        state.dirty.unwatch(topic);
        state.moved.unwatch(topic);
        self.shared.interest.unwatch(topic);
        let unneeded = state.history.take_topic(topic);
        // Dropping a request responds to it.
        drop(state);
        drop(unneeded);
        self.shared.sleep.unwatch();
    }

    fn read_history(&self, channel: &Channel, reply: HistoryReply) {
        let name = Arc::clone(&channel.name);
        let request = HistoryRequest { name, reply };
        let topic = channel.topic.clone();
        let refused = self.lock().history.add(topic, request, monotonic_now());
        // Dropping a request responds to it.
        drop(refused);
        self.shared.wake.notify_one();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
