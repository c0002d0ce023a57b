//! The engine's actor: takes batches out of the dirty set, reads, compares and publishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::verification_rotation::VerificationRotation;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;

use crate::calendar::Calendar;
use crate::database_health::DatabaseHealth;
use crate::deps::EngineDeps;
use crate::failure_log::FailureLog;
use crate::hint_source::HintSource;
use crate::history_queue::HistoryBatch;
use crate::missed_changes::MissedChange;
use crate::read_batch::ReadBatch;
use crate::read_cost::TypicalCost;
use crate::read_slots::ReadSlots;
use crate::shared::{EngineShared, HistoryRequest, ReadWaiter};
use latido_base::clock::monotonic_now;
use latido_base::ident::{Key, Topic};
use latido_base::sleep::SleepChanges;
use latido_protocol::Staleness;
use latido_stream::{OpenTransaction, ReadError, ReadRow, TopicHistory};
use latido_telemetry::{Metrics, RecentEventKind};

mod histories;

mod reads;

mod staleness;

mod transactions;

mod verification;

/// The longest sleep of the actor, so that a step of the wall clock or a suspended machine cannot
/// hide a midnight.
const MAX_SLEEP: Duration = Duration::from_secs(15);

enum EngineEvent {
    Stop,
    /// A hint arrived, or a deadline passed.
    Woken,
    /// The zones of a batch's keys are known, so the batch can be read.
    ZonesRead(
        ReadBatch<ReadWaiter>,
        Result<HashMap<Key, String>, ReadError>,
    ),
    RowsRead(ReadBatch<ReadWaiter>, Result<Vec<ReadRow>, ReadError>),
    /// The verified topics, and those of their keys that differ from the stream's verification
    /// query.
    Verified(Vec<Topic>, Result<Vec<Key>, ReadError>),
    /// The zones of the keys are known, so their histories can be read.
    HistoryZonesRead(
        HistoryBatch<HistoryRequest>,
        Result<HashMap<Key, String>, ReadError>,
    ),
    HistoriesRead(
        HistoryBatch<HistoryRequest>,
        Result<Vec<TopicHistory>, ReadError>,
    ),
    /// The open transactions.
    TransactionsRead(Result<Vec<OpenTransaction>, ReadError>),
}

/// Whether all triggers were installed and notifications arrived, as far as is known. A change that a
/// sweep finds happened after the sweep before.
#[derive(Debug, Clone, Copy, Default)]
struct Coverage {
    /// Since the last sweep.
    is_since_sweep: bool,
    /// Between the last sweep and the one before.
    is_of_sweep: bool,
}

pub(super) struct EngineActor {
    shared: Arc<EngineShared>,
    deps: EngineDeps,
    metrics: Arc<Metrics>,
    calendar: Calendar,
    database_health: DatabaseHealth,
    /// The statements under way: usually one batch for each stream, and a few single keys.
    statements: FuturesUnordered<BoxFuture<'static, EngineEvent>>,
    /// The statements for histories. They are no probes of the database.
    histories: FuturesUnordered<BoxFuture<'static, EngineEvent>>,
    slots: ReadSlots,
    running_solos: usize,
    next_sweep: Instant,
    coverage: Coverage,
    verification: VerificationRotation,
    /// The typical read cost, indexed by stream.
    typical_cost: Vec<TypicalCost>,
    /// Whether it was logged that a history is too long, indexed by stream.
    logged_long_history: Vec<bool>,
    failure_log: FailureLog,
    /// The changes of the sleep of the database's connections, after which reads may start.
    sleep_changes: SleepChanges,
    staleness: Staleness,
    /// The time at which reads were last started. Deadlines are computed from it: a key held back
    /// at that time would be missed if it became due between that time and the current one.
    last_start: Instant,
}

impl EngineActor {
    pub(super) fn new(shared: Arc<EngineShared>, deps: EngineDeps) -> Self {
        let calendar = Calendar::new(&deps.catalog, deps.clock.now());
        let sleep_changes = shared.sleep.changes();
        let mut actor = Self {
            metrics: Arc::clone(&shared.metrics),
            shared,
            calendar,
            database_health: DatabaseHealth::default(),
            statements: FuturesUnordered::new(),
            histories: FuturesUnordered::new(),
            logged_long_history: Vec::new(),
            failure_log: FailureLog::default(),
            slots: ReadSlots::new(0),
            running_solos: 0,
            next_sweep: monotonic_now() + deps.config.sweep,
            coverage: Coverage::default(),
            verification: VerificationRotation::default(),
            typical_cost: Vec::new(),
            sleep_changes,
            staleness: Staleness::Fresh,
            last_start: monotonic_now(),
            deps,
        };
        actor.add_new_streams();
        actor
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next_event().await {
                // Dropping requests responds to them.
                EngineEvent::Stop => return drop(self.shared.lock().history.close()),
                event => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: EngineEvent) {
        self.add_new_streams();
        match event {
            EngineEvent::Stop | EngineEvent::Woken => {}
            EngineEvent::ZonesRead(batch, zones) => self.on_zones(batch, zones),
            EngineEvent::RowsRead(batch, rows) => self.on_read(batch, rows),
            EngineEvent::Verified(topics, differing) => self.on_verified(&topics, differing),
            EngineEvent::HistoryZonesRead(batch, zones) => self.on_history_zones(batch, zones),
            EngineEvent::HistoriesRead(batch, rows) => self.on_histories(batch, rows),
            EngineEvent::TransactionsRead(result) => self.on_transactions(result),
        }
        self.run_timers();
        self.publish_staleness();
        self.start_transaction_query();
        self.start_reads();
        self.start_histories();
    }

    /// Adds the streams that a reload has brought.
    fn add_new_streams(&mut self) {
        let count = self.deps.catalog.id_count();
        if count > self.typical_cost.len() {
            let now = self.deps.clock.now();
            self.calendar.add_streams(&self.deps.catalog, now);
            self.slots.grow(count);
            self.typical_cost.resize(count, TypicalCost::default());
            self.logged_long_history.resize(count, false);
        }
    }

    async fn next_event(&mut self) -> EngineEvent {
        let deadline = self.deadline();
        tokio::select! {
            () = self.deps.drain.stopping() => EngineEvent::Stop,
            Some(event) = self.statements.next(), if !self.statements.is_empty() => event,
            Some(event) = self.histories.next(), if !self.histories.is_empty() => event,
            () = self.shared.wake.notified() => EngineEvent::Woken,
            () = self.sleep_changes.next(), if self.shared.sleep.after().is_some() => EngineEvent::Woken,
            () = sleep_until(deadline) => EngineEvent::Woken,
        }
    }

    /// Returns the time of the next timer, or `None` while no key has viewers.
    fn deadline(&self) -> Option<Instant> {
        let now = self.last_start;
        let state = self.shared.lock();
        let watching = state.dirty.watched_topics().next().is_some();
        let due = state.dirty.next_due().filter(|_| !self.is_probing(now));
        let reads = due.map(|due| {
            let held = [
                self.database_health.retry_at(now),
                self.shared.sleep.reads_wait_until(now),
            ];
            held.into_iter().flatten().fold(due, Instant::max)
        });
        let retry = self.database_health.retry_at(now);
        let corrections = state.missed_changes.next_due();
        let history = state.history.next_deadline();
        drop(state);
        let moves = self.next_transaction_query(now);
        let clock = watching.then(|| now + self.until_midnight().min(MAX_SLEEP));
        let sweep = watching.then_some(self.next_sweep);
        let slot = self.slots.next_free(now);
        [
            reads,
            retry,
            corrections,
            history,
            moves,
            clock,
            sweep,
            slot,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn until_midnight(&self) -> Duration {
        let now = self.deps.clock.now();
        let midnight = self.calendar.next_midnight().unwrap_or(Timestamp::MAX);
        Duration::try_from(midnight.duration_since(now)).unwrap_or_default()
    }

    /// Handles midnights, the sweep, and suspected missed changes that became certain.
    fn run_timers(&mut self) {
        let now = monotonic_now();
        let (streams, keys) = self.calendar.advance(self.deps.clock.now());
        let covered = self.shared.triggers_complete.load(Ordering::Relaxed);
        self.coverage.is_since_sweep &= covered;
        let sweep = if covered {
            self.deps.config.sweep
        } else {
            self.deps.config.sweep_without_notifications
        };
        self.next_sweep = self.next_sweep.min(now + sweep);
        let mut state = self.shared.lock();
        if state.dirty.watched_topics().next().is_none() {
            // Nothing to sweep. The deadline moves, so that no sweep directly follows the next
            // viewer's first read.
            self.next_sweep = now + sweep;
            self.coverage.is_since_sweep = covered;
            self.calendar.forget_zones(None);
        }
        for stream in streams {
            state
                .dirty
                .mark_all(Some(stream), HintSource::Rollover, now);
        }
        for key in &keys {
            for topic in state.dirty.topics_of_key(key) {
                state.dirty.mark(&topic, HintSource::Rollover, now);
            }
        }
        let is_sweep_due = now >= self.next_sweep;
        if is_sweep_due {
            self.next_sweep = now + sweep;
            self.coverage.is_of_sweep = self.coverage.is_since_sweep;
            self.coverage.is_since_sweep = covered;
            // The zones are read again as well, because a business may have moved.
            self.calendar.forget_zones(None);
            state.dirty.mark_all(None, HintSource::Sweep, now);
        }
        let missed = state.missed_changes.take_missed(now);
        drop(state);
        if is_sweep_due {
            self.start_verification();
        }
        self.record_missed(&missed);
    }

    /// Counts the changes that only the sweep found, and logs them if nothing explains them.
    fn record_missed(&self, missed: &[MissedChange]) {
        self.metrics.corrections.inc_by(missed.len() as u64);
        // While triggers or notifications are known to be missing, a log entry exists already and
        // such changes are expected.
        let unexplained = missed.iter().filter(|change| !change.is_explained);
        let topics: Vec<&Topic> = unexplained.map(|change| &change.topic).collect();
        let Some(topic) = topics.first() else {
            return;
        };
        let name_of = |topic: &Topic| self.deps.catalog.get(topic.stream).name.clone();
        let is_served = |topic: &&&Topic| !self.deps.catalog.is_retired(topic.stream);
        for topic in topics.iter().filter(is_served) {
            self.metrics.stream_corrections.increment(name_of(topic));
        }
        let (stream, key) = (name_of(topic), topic.key.to_string());
        let keys = topics.len();
        self.metrics
            .recent_events
            .record(RecentEventKind::Correction, "sweep", Some(&key));
        tracing::warn!(%stream, keys, key, "the sweep found changes without a notification: something bypasses the triggers");
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(any(test, feature = "simulation"))]
#[path = "simulated_actor_tests.rs"]
pub(crate) mod simulated;
