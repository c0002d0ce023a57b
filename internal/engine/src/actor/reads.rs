//! Reading batches of keys, and publishing the rows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::{EngineActor, EngineEvent};
use crate::hint_source::HintSource;
use crate::read_batch::{BatchKey, BatchOutcome, KeyCost, ReadBatch};
use crate::read_cost;
use crate::shared::ReadWaiter;
use latido_base::clock::monotonic_now;
use latido_base::ident::Key;
use latido_hub::PublishOutcome;
use latido_protocol::Staleness;
use latido_stream::{ReadError, ReadRow, StreamRow, ZoneRule};
use latido_telemetry::RecentEventKind;

impl EngineActor {
    /// Starts reads until no slot or no due key is left.
    pub(super) fn start_reads(&mut self) {
        let now = monotonic_now();
        self.last_start = now;
        let is_held = self.shared.sleep.reads_wait_until(now).is_some();
        if is_held || self.database_health.retry_at(now).is_some() {
            return;
        }
        loop {
            if self.is_probing(now) {
                return;
            }
            let mut state = self.shared.lock();
            let batch = match state
                .dirty
                .take_batch(now, |stream| self.slots.is_free(stream, now))
            {
                None if self.running_solos < self.deps.config.solo_slots => {
                    state.dirty.take_solo(now)
                }
                batch => batch,
            };
            drop(state);
            match batch {
                // Its viewers are on their way to the stream that replaces it, or were told.
                Some(batch) if self.deps.catalog.is_retired(batch.stream) => {
                    self.finish_batch(batch, BatchOutcome::Done { is_slow: false }, now);
                }
                // No statement would work. The viewers are told, and all watched keys of the stream
                // are marked when it works again.
                Some(batch) if self.deps.catalog.status(batch.stream).is_broken() => {
                    self.finish_batch(batch, BatchOutcome::Broken, now);
                }
                Some(batch) => self.start_batch(batch),
                None => return,
            }
        }
    }

    /// Returns whether a probe is under way. While the database is away, one statement at a time
    /// finds out whether it is back, and due keys wait for its result.
    pub(super) fn is_probing(&self, now: Instant) -> bool {
        self.database_health.staleness(now, Duration::ZERO) != Staleness::Fresh
            && !self.statements.is_empty()
    }

    pub(super) fn start_batch(&mut self, batch: ReadBatch<ReadWaiter>) {
        self.add_new_streams();
        if batch.is_solo {
            self.running_solos += 1;
        } else {
            self.slots.occupy(batch.stream, batch.started_at);
        }
        let stream = Arc::clone(self.deps.catalog.get(batch.stream));
        let unknown = batch
            .keys
            .iter()
            .map(|key| &key.topic)
            .any(|topic| self.calendar.lacks_zone(topic));
        if unknown && matches!(stream.zone_rule, ZoneRule::Query { .. }) {
            let reader = Arc::clone(&self.deps.reader);
            self.statements.push(Box::pin(async move {
                let keys: Vec<_> = batch.keys.iter().map(|key| key.topic.key.clone()).collect();
                let zones = reader.zones(&stream, &keys).await;
                EngineEvent::ZonesRead(batch, zones)
            }));
        } else {
            self.start_statement(batch);
        }
    }

    pub(super) fn on_zones(
        &mut self,
        batch: ReadBatch<ReadWaiter>,
        zones: Result<HashMap<Key, String>, ReadError>,
    ) {
        let zones = match zones {
            Ok(zones) => zones,
            Err(ReadError::Unavailable(reason)) => {
                return self.on_read(batch, Err(ReadError::Unavailable(reason)));
            }
            Err(error @ (ReadError::Rejected(_) | ReadError::Broken(_))) => {
                tracing::warn!(%error, "the time zones of keys could not be read; the default is taken");
                HashMap::new()
            }
        };
        let topics: Vec<_> = batch.keys.iter().map(|key| key.topic.clone()).collect();
        self.calendar
            .set_zones(&topics, &zones, self.deps.clock.now());
        self.start_statement(batch);
    }

    pub(super) fn start_statement(&mut self, batch: ReadBatch<ReadWaiter>) {
        let now = self.deps.clock.now();
        let todays: Vec<_> = batch
            .keys
            .iter()
            .map(|key| self.calendar.today(&key.topic, now))
            .collect();
        let stream = Arc::clone(self.deps.catalog.get(batch.stream));
        let reader = Arc::clone(&self.deps.reader);
        self.statements.push(Box::pin(async move {
            let keys: Vec<_> = batch.keys.iter().map(|key| key.topic.key.clone()).collect();
            let rows = reader.read(&stream, &keys, &todays).await;
            EngineEvent::RowsRead(batch, rows)
        }));
    }

    pub(super) fn on_read(
        &mut self,
        mut batch: ReadBatch<ReadWaiter>,
        rows: Result<Vec<ReadRow>, ReadError>,
    ) {
        let now = monotonic_now();
        if batch.is_solo {
            self.running_solos = self.running_solos.saturating_sub(1);
        } else {
            self.slots.release(batch.stream, batch.started_at);
        }
        let outcome = match rows {
            Ok(rows) => {
                let slow = self.record_cost(&mut batch, &rows, now);
                self.publish_rows(&mut batch, rows, now);
                self.database_health.record_success();
                BatchOutcome::Done { is_slow: slow }
            }
            Err(ReadError::Rejected(_) | ReadError::Broken(_))
                if self.deps.catalog.is_retired(batch.stream) =>
            {
                BatchOutcome::Done { is_slow: false }
            }
            Err(error) => self.record_failure(&batch, &error, now),
        };
        self.finish_batch(batch, outcome, now);
    }

    /// Hands a batch back to the dirty set, and tells the viewers of keys that cannot be read.
    fn finish_batch(&self, batch: ReadBatch<ReadWaiter>, outcome: BatchOutcome, now: Instant) {
        let is_certain = batch.keys.len() == 1 && outcome == BatchOutcome::Rejected;
        if is_certain || outcome == BatchOutcome::Broken {
            let since_s = self.deps.clock.unix_s();
            for key in &batch.keys {
                self.deps.hub.set_unreadable(&key.topic, since_s);
            }
        }
        let mut state = self.shared.lock();
        let (waiters, succeeded) = state.dirty.finish(batch, outcome, now);
        self.shared.apply_polling_changes(&mut state.dirty, now);
        drop(state);
        for waiter in waiters {
            // The receiver may be gone already.
            let _ = waiter.send(succeeded);
        }
    }

    pub(super) fn record_failure(
        &mut self,
        batch: &ReadBatch<ReadWaiter>,
        error: &ReadError,
        now: Instant,
    ) -> BatchOutcome {
        let stream = &self.deps.catalog.get(batch.stream).name;
        let keys = batch.keys.len();
        match error {
            ReadError::Unavailable(_) => {
                self.metrics.read_failures.increment("unavailable");
                if self.database_health.staleness(now, Duration::ZERO) == Staleness::Fresh {
                    tracing::warn!(%stream, keys, %error, "could not read; the keys stay marked");
                }
                self.database_health.record_failure(
                    batch.started_at,
                    now,
                    self.deps.clock.unix_s(),
                );
                BatchOutcome::Unavailable
            }
            ReadError::Rejected(_) => {
                self.metrics.read_failures.increment("rejected");
                // A rejection proves that the database responds.
                self.database_health.record_success();
                if keys == 1 {
                    let key = batch.keys.first();
                    let key = key.map_or_else(String::new, |key| key.topic.key.to_string());
                    if let Some(left_out) = self.failure_log.record(batch.stream, now) {
                        tracing::warn!(%stream, key, %error, left_out, "could not read this key; it is tried again later");
                    }
                    self.metrics.recent_events.record(
                        RecentEventKind::ReadFailed,
                        "rejected",
                        Some(&key),
                    );
                }
                BatchOutcome::Rejected
            }
            ReadError::Broken(problem) => {
                self.metrics.read_failures.increment("broken");
                self.database_health.record_success();
                if self
                    .deps
                    .catalog
                    .status(batch.stream)
                    .set_broken(problem.clone())
                {
                    tracing::error!(%stream, %error, "the stream cannot be read: its viewers are told, and the other streams go on");
                    self.metrics.recent_events.record(
                        RecentEventKind::ReadFailed,
                        "broken",
                        Some(stream),
                    );
                    // The viewers of its other keys are told as well.
                    self.shared
                        .lock()
                        .dirty
                        .mark_all(Some(batch.stream), HintSource::Resync, now);
                }
                BatchOutcome::Broken
            }
        }
    }

    pub(super) fn publish_rows(
        &mut self,
        batch: &mut ReadBatch<ReadWaiter>,
        rows: Vec<ReadRow>,
        now: Instant,
    ) {
        let elapsed = now.saturating_duration_since(batch.started_at);
        self.metrics.read_seconds.observe(elapsed);
        self.metrics.batch_keys.observe(batch.keys.len());
        let clock_us = rows.first().map_or_else(
            || self.deps.clock.now().as_microsecond(),
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
            let published = self.deps.hub.publish(&taken.topic, &row);
            taken.has_changed = matches!(published, PublishOutcome::Changed(_));
            self.record_read(taken, published, now);
        }
    }

    pub(super) fn record_read(
        &self,
        taken: &BatchKey<ReadWaiter>,
        published: PublishOutcome,
        now: Instant,
    ) {
        if let Some(source) = taken.sources.iter().next() {
            self.metrics.reads.increment(source.as_str());
        }
        match published {
            PublishOutcome::Changed(_) if taken.sources.is_only(HintSource::Sweep) => self
                .shared
                .lock()
                .missed_changes
                .record_sweep_change(&taken.topic, !self.coverage.is_of_sweep, now),
            // A polled change has no notification, so there is no change-to-frame latency to
            // record.
            PublishOutcome::Changed(_) if !taken.sources.is_only(HintSource::Timer) => self
                .metrics
                .change_to_frame_seconds
                .observe(now.saturating_duration_since(taken.since)),
            PublishOutcome::Changed(_)
            | PublishOutcome::Recovered(_)
            | PublishOutcome::Unwatched
            | PublishOutcome::Unchanged
            | PublishOutcome::First(_) => {}
        }
    }

    /// Records the cost of each key of the batch. Returns `true` if the batch took far longer than
    /// these costs explain.
    pub(super) fn record_cost(
        &mut self,
        batch: &mut ReadBatch<ReadWaiter>,
        rows: &[ReadRow],
        now: Instant,
    ) -> bool {
        let elapsed = now.saturating_duration_since(batch.started_at);
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
            key.cost = read_cost::classify(*took, batch.is_solo, key.is_polled);
            if key.cost == KeyCost::Heavy {
                unexplained = unexplained.saturating_sub(*took);
            }
        }
        self.typical_cost[usize::from(batch.stream.0)].record_batch(unexplained, batch.keys.len())
    }
}
