//! The engine's actor: takes batches out of the dirty set, reads, compares and publishes.

mod audit;
mod staleness;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;

use crate::ailing::Ailing;
use crate::batch::{Batch, Outcome, Taken, Weight};
use crate::calendar::Calendar;
use crate::cost::{self, Usual};
use crate::lanes::Lanes;
use crate::outage::Outage;
use crate::{Parts, ReadError, Reading, Shared, Source, Waiter};
pub(super) use audit::CHECK_RESULTS;
use audit::Rounds;
use latido_base::clock::monotonic_now;
use latido_base::ident::{Key, Topic};
use latido_hub::PublishOutcome;
use latido_protocol::Staleness;
use latido_stream::{StreamRow, ZoneRule};
use latido_telemetry::{RecentEventKind, Metrics};

/// The longest sleep of the actor, so that a step of the wall clock or a suspended machine cannot
/// hide a midnight.
const LONGEST_NAP: Duration = Duration::from_secs(15);

enum Event {
    Stop,
    /// A hint arrived, or a deadline passed.
    Woken,
    /// The zones of a batch's keys are known, so the batch can be read.
    Zoned(Batch<Waiter>, Result<HashMap<Key, String>, ReadError>),
    Read(Batch<Waiter>, Result<Vec<Reading>, ReadError>),
    /// The verified topics, and those of their keys that differ from the stream's verification
    /// query.
    Audited(Vec<Topic>, Result<Vec<Key>, ReadError>),
}

pub(super) struct Refresh {
    shared: Arc<Shared>,
    parts: Parts,
    metrics: Arc<Metrics>,
    calendar: Calendar,
    outage: Outage,
    /// The health of each stream, indexed by stream.
    ailing: Vec<Ailing>,
    /// The statements under way: usually one batch for each stream, and a few single keys.
    running: FuturesUnordered<BoxFuture<'static, Event>>,
    lanes: Lanes,
    solos: usize,
    next_sweep: Instant,
    rounds: Rounds,
    /// The typical read cost, indexed by stream.
    usual: Vec<Usual>,
    staleness: Staleness,
    /// The time at which reads were last started. Deadlines are computed from it: a key held back
    /// at that time would be missed if it became due between that time and the current one.
    looked: Instant,
}

impl Refresh {
    pub(super) fn new(shared: Arc<Shared>, parts: Parts) -> Self {
        let calendar = Calendar::new(&parts.catalog, parts.clock.now());
        let usual: Vec<_> = parts.catalog.iter().map(|_| Usual::default()).collect();
        Self {
            metrics: Arc::clone(&shared.metrics),
            shared,
            calendar,
            outage: Outage::default(),
            ailing: vec![Ailing::default(); usual.len()],
            running: FuturesUnordered::new(),
            lanes: Lanes::new(usual.len()),
            solos: 0,
            next_sweep: monotonic_now() + parts.config.sweep,
            rounds: Rounds::default(),
            usual,
            staleness: Staleness::Fresh,
            looked: monotonic_now(),
            parts,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            match self.next_event().await {
                Event::Stop => return,
                event => self.handle(event),
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Stop | Event::Woken => {}
            Event::Zoned(batch, zones) => self.zoned(batch, zones),
            Event::Read(batch, rows) => self.read(batch, rows),
            Event::Audited(topics, differing) => self.audited(&topics, differing),
        }
        self.look_at_the_clock();
        self.tell_staleness();
        self.start_reads();
    }

    async fn next_event(&mut self) -> Event {
        let deadline = self.deadline();
        tokio::select! {
            () = self.parts.drain.stopping() => Event::Stop,
            Some(event) = self.running.next(), if !self.running.is_empty() => event,
            () = self.shared.wake.notified() => Event::Woken,
            () = sleep_until(deadline) => Event::Woken,
        }
    }

    /// Returns the time of the next timer, or `None` while no key has viewers.
    fn deadline(&self) -> Option<Instant> {
        let now = self.looked;
        let state = self.shared.lock();
        let watching = state.dirty.watched().next().is_some();
        let due = state.dirty.next_due().filter(|_| !self.awaits_probe(now));
        let reads = due.map(|due| self.outage.pause(now).map_or(due, |until| until.max(due)));
        let retry = self.outage.pause(now);
        let corrections = state.corrections.next_due();
        drop(state);
        let clock = watching.then(|| now + self.until_midnight().min(LONGEST_NAP));
        let sweep = watching.then_some(self.next_sweep);
        let slot = self.lanes.next_free(now);
        [reads, retry, corrections, clock, sweep, slot]
            .into_iter()
            .flatten()
            .min()
    }

    fn until_midnight(&self) -> Duration {
        let now = self.parts.clock.now();
        let midnight = self.calendar.next_midnight().unwrap_or(Timestamp::MAX);
        Duration::try_from(midnight.duration_since(now)).unwrap_or_default()
    }

    /// Handles midnights, the sweep, and suspected missed changes that became certain.
    fn look_at_the_clock(&mut self) {
        let now = monotonic_now();
        let (streams, keys) = self.calendar.roll(self.parts.clock.now());
        let covered = self.shared.covered.load(Ordering::Relaxed);
        let sweep = if covered {
            self.parts.config.sweep
        } else {
            self.parts.config.sweep_deaf
        };
        self.next_sweep = self.next_sweep.min(now + sweep);
        let mut state = self.shared.lock();
        if state.dirty.watched().next().is_none() {
            // Nothing to sweep. The deadline moves, so that no sweep directly follows the next
            // viewer's first read.
            self.next_sweep = now + sweep;
            self.calendar.forget(None);
        }
        for stream in streams {
            state.dirty.mark_all(Some(stream), Source::Rollover, now);
        }
        for key in &keys {
            state.dirty.mark(key, Source::Rollover, now);
        }
        let is_sweep_due = now >= self.next_sweep;
        if is_sweep_due {
            self.next_sweep = now + sweep;
            // The zones are read again as well, because a business may have moved.
            self.calendar.forget(None);
            state.dirty.mark_all(None, Source::Sweep, now);
        }
        let missed = state.corrections.take_certain(now);
        drop(state);
        if is_sweep_due {
            self.audit();
        }
        self.metrics.corrections.inc_by(missed.len() as u64);
        // While triggers or notifications are known to be missing, a log entry exists already and
        // such changes are expected.
        if let (Some(topic), true) = (missed.first(), covered) {
            let stream = &self.parts.catalog.get(topic.stream).name;
            let (keys, key) = (missed.len(), topic.key.as_str());
            self.metrics
                .recent_events
                .record(RecentEventKind::Correction, "sweep", Some(key));
            tracing::warn!(%stream, keys, key, "the sweep found changes without a notification: something bypasses the triggers");
        }
    }

    /// Starts reads until no slot or no due key is left.
    fn start_reads(&mut self) {
        let now = monotonic_now();
        self.looked = now;
        if self.outage.pause(now).is_some() {
            return;
        }
        loop {
            if self.awaits_probe(now) {
                return;
            }
            let mut state = self.shared.lock();
            let batch = match state
                .dirty
                .take(now, |stream| self.lanes.is_free(stream, now))
            {
                None if self.solos < self.parts.config.solo_lanes => state.dirty.take_solo(now),
                batch => batch,
            };
            drop(state);
            match batch {
                Some(batch) => self.start(batch),
                None => return,
            }
        }
    }

    /// Returns whether a probe is under way. While the database is away, one statement at a time
    /// finds out whether it is back, and due keys wait for its result.
    fn awaits_probe(&self, now: Instant) -> bool {
        self.outage.staleness(now, Duration::ZERO) != Staleness::Fresh && !self.running.is_empty()
    }

    fn start(&mut self, batch: Batch<Waiter>) {
        if batch.solo {
            self.solos += 1;
        } else {
            self.lanes.start(batch.stream, batch.started);
        }
        let stream = Arc::clone(self.parts.catalog.get(batch.stream));
        let unknown = batch
            .keys
            .iter()
            .map(|key| &key.topic)
            .any(|topic| self.calendar.lacks_zone(topic));
        if unknown && matches!(stream.zone_rule, ZoneRule::Query { .. }) {
            let reader = Arc::clone(&self.parts.reader);
            self.running.push(Box::pin(async move {
                let keys: Vec<_> = batch.keys.iter().map(|key| key.topic.key.clone()).collect();
                let zones = reader.zones(&stream, &keys).await;
                Event::Zoned(batch, zones)
            }));
        } else {
            self.start_statement(batch);
        }
    }

    fn zoned(&mut self, batch: Batch<Waiter>, zones: Result<HashMap<Key, String>, ReadError>) {
        let zones = match zones {
            Ok(zones) => zones,
            Err(ReadError::Unavailable(reason)) => {
                return self.read(batch, Err(ReadError::Unavailable(reason)));
            }
            Err(error @ ReadError::Rejected(_)) => {
                tracing::warn!(%error, "the time zones of keys could not be read; the default is taken");
                HashMap::new()
            }
        };
        let topics: Vec<_> = batch.keys.iter().map(|key| key.topic.clone()).collect();
        self.calendar
            .set_zones(&topics, &zones, self.parts.clock.now());
        self.start_statement(batch);
    }

    fn start_statement(&mut self, batch: Batch<Waiter>) {
        let now = self.parts.clock.now();
        let todays: Vec<_> = batch
            .keys
            .iter()
            .map(|key| self.calendar.today(&key.topic, now))
            .collect();
        let stream = Arc::clone(self.parts.catalog.get(batch.stream));
        let reader = Arc::clone(&self.parts.reader);
        self.running.push(Box::pin(async move {
            let keys: Vec<_> = batch.keys.iter().map(|key| key.topic.key.clone()).collect();
            let rows = reader.read(&stream, &keys, &todays).await;
            Event::Read(batch, rows)
        }));
    }

    fn read(&mut self, mut batch: Batch<Waiter>, rows: Result<Vec<Reading>, ReadError>) {
        let now = monotonic_now();
        if batch.solo {
            self.solos = self.solos.saturating_sub(1);
        } else {
            self.lanes.end(batch.stream, batch.started);
        }
        let stream = batch.stream;
        let outcome = match rows {
            Ok(rows) => {
                let slow = self.weigh(&mut batch, &rows, now);
                self.publish(&mut batch, rows, now);
                self.outage.over();
                self.ailing[usize::from(stream.0)].over();
                Outcome::Done { slow }
            }
            Err(error) => self.failed(&batch, &error, now),
        };
        let mut state = self.shared.lock();
        let alone = batch
            .keys
            .first()
            .filter(|_| batch.keys.len() == 1 && outcome == Outcome::Rejected);
        let was_healthy = alone.map(|key| !state.dirty.is_failing(&key.topic));
        let (waiters, succeeded) = state.dirty.finish(batch, outcome, now);
        self.shared.turn(&mut state.dirty, now);
        let all_fail = was_healthy.is_some() && state.dirty.all_failing(stream);
        drop(state);
        if let Some(was_healthy) = was_healthy {
            self.ailing[usize::from(stream.0)].failed(
                was_healthy,
                all_fail,
                now,
                self.parts.clock.unix_s(),
            );
        }
        for waiter in waiters {
            // The receiver may be gone already.
            let _ = waiter.send(succeeded);
        }
    }

    fn failed(&mut self, batch: &Batch<Waiter>, error: &ReadError, now: Instant) -> Outcome {
        let stream = &self.parts.catalog.get(batch.stream).name;
        let keys = batch.keys.len();
        match error {
            ReadError::Unavailable(_) => {
                self.metrics.read_failures.increment("unavailable");
                if self.outage.staleness(now, Duration::ZERO) == Staleness::Fresh {
                    tracing::warn!(%stream, keys, %error, "could not read; the keys stay marked");
                }
                self.outage
                    .failed(batch.started, now, self.parts.clock.unix_s());
                Outcome::Unavailable
            }
            ReadError::Rejected(_) => {
                self.metrics.read_failures.increment("rejected");
                // A rejection proves that the database responds.
                self.outage.over();
                if keys == 1 {
                    let key = batch.keys.first().map_or("", |key| key.topic.key.as_str());
                    tracing::warn!(%stream, key, %error, "could not read this key; it is tried again later");
                    self.metrics
                        .recent_events
                        .record(RecentEventKind::ReadFailed, "rejected", Some(key));
                }
                Outcome::Rejected
            }
        }
    }

    fn publish(&mut self, batch: &mut Batch<Waiter>, rows: Vec<Reading>, now: Instant) {
        let elapsed = now.saturating_duration_since(batch.started);
        self.metrics.read_seconds.observe(elapsed);
        self.metrics.batch_keys.observe(batch.keys.len());
        let clock_us = rows.first().map_or_else(
            || self.parts.clock.now().as_microsecond(),
            |read| read.row.clock_us,
        );
        let mut rows: HashMap<_, _> = rows
            .into_iter()
            .map(|read| (read.row.key.clone(), read.row))
            .collect();
        for taken in &mut batch.keys {
            let key = &taken.topic.key;
            // A query without the LATERAL form returns no row for a key without data. Its viewers
            // still get a frame, so that they know that they are served.
            let absent = || StreamRow {
                key: key.clone(),
                columns: "{}".to_owned(),
                clock_us,
            };
            let row = rows.remove(key).unwrap_or_else(absent);
            let published = self.parts.hub.publish(&taken.topic, &row);
            taken.changed = matches!(published, PublishOutcome::Changed(_));
            self.note(taken, published, now);
        }
    }

    fn note(&self, taken: &Taken<Waiter>, published: PublishOutcome, now: Instant) {
        if let Some(source) = taken.sources.iter().next() {
            self.metrics.reads.increment(source.as_str());
        }
        match published {
            PublishOutcome::Changed(_) if taken.sources.is_only(Source::Sweep) => {
                self.shared.lock().corrections.suspect(&taken.topic, now)
            }
            // A polled change has no notification, so there is no change-to-frame latency to
            // record.
            PublishOutcome::Changed(_) if !taken.sources.is_only(Source::Timer) => self
                .metrics
                .change_to_frame_seconds
                .observe(now.saturating_duration_since(taken.since)),
            PublishOutcome::Changed(_)
            | PublishOutcome::Unwatched
            | PublishOutcome::Unchanged
            | PublishOutcome::First(_) => {}
        }
    }

    /// Records the cost of each key of the batch. Returns `true` if the batch took far longer than
    /// these costs explain.
    fn weigh(&mut self, batch: &mut Batch<Waiter>, rows: &[Reading], now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(batch.started);
        let mut unexplained = elapsed;
        // The first of several rows may include the work for all of them, so its time is not used.
        let known = rows
            .iter()
            .skip(usize::from(rows.len() > 1))
            .filter_map(|read| Some((&read.row.key, read.took?)));
        let took: HashMap<_, _> = known.collect();
        for key in &mut batch.keys {
            let Some(took) = took.get(&key.topic.key) else {
                continue;
            };
            key.weight = cost::weight(*took, batch.solo, key.hot);
            if key.weight == Weight::Giant {
                unexplained = unexplained.saturating_sub(*took);
            }
        }
        self.usual[usize::from(batch.stream.0)].is_slow(unexplained, batch.keys.len())
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(any(test, feature = "simulation"))]
#[path = "simulated.rs"]
pub mod simulated;
