//! Reading the histories that clients ask for.
//!
//! They have statements of their own, of which few run at a time, so that reads of changed keys go
//! on. Their failures say nothing about the streams' numbers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::actor::{EngineActor, EngineEvent};
use crate::history_queue::HistoryBatch;
use crate::shared::HistoryRequest;
use latido_base::clock::monotonic_now;
use latido_base::ident::Key;
use latido_protocol::{Frame, Staleness, native};
use latido_stream::{ReadError, TopicHistory, ZoneRule};

impl EngineActor {
    /// Starts statements until the limit is reached or nobody waits. Requests that cannot be served
    /// now get their response.
    pub(super) fn start_histories(&mut self) {
        let mut state = self.shared.lock();
        if state.history.is_empty() {
            return;
        }
        let now = monotonic_now();
        let is_away = self.database_health.staleness(now, Duration::ZERO) != Staleness::Fresh;
        let (hopeless, result) = match is_away {
            true => (state.history.take_all(), "unavailable"),
            false => (state.history.take_hopeless(now), "unserved"),
        };
        drop(state);
        // Dropping a request responds to it.
        self.count_histories(result, hopeless.len());
        drop(hopeless);
        loop {
            let batch = self.shared.lock().history.take_batch(now);
            let Some(batch) = batch else { return };
            let catalog = &self.deps.catalog;
            if catalog.is_retired(batch.stream) || catalog.status(batch.stream).is_broken() {
                self.shared.lock().history.finish(batch.stream);
                self.count_histories("broken", batch.topics.len());
            } else {
                self.start_history(batch);
            }
        }
    }

    fn start_history(&mut self, batch: HistoryBatch<HistoryRequest>) {
        self.add_new_streams();
        let stream = Arc::clone(self.deps.catalog.get(batch.stream));
        let mut topics = batch.topics.iter();
        let is_unknown = topics.any(|(topic, _)| self.calendar.lacks_zone(topic));
        if is_unknown && matches!(stream.zone_rule, ZoneRule::Query { .. }) {
            let reader = Arc::clone(&self.deps.reader);
            self.histories.push(Box::pin(async move {
                let zones = reader.zones(&stream, &keys(&batch)).await;
                EngineEvent::HistoryZonesRead(batch, zones)
            }));
        } else {
            self.start_history_statement(batch);
        }
    }

    pub(super) fn on_history_zones(
        &mut self,
        batch: HistoryBatch<HistoryRequest>,
        zones: Result<HashMap<Key, String>, ReadError>,
    ) {
        match zones {
            Err(error @ ReadError::Unavailable(_)) => self.on_histories(batch, Err(error)),
            // The read of the numbers reports a query for zones that fails.
            zones => {
                let topics: Vec<_> = batch
                    .topics
                    .iter()
                    .map(|(topic, _)| topic.clone())
                    .collect();
                let zones = zones.unwrap_or_default();
                self.calendar
                    .set_zones(&topics, &zones, self.deps.clock.now());
                self.start_history_statement(batch);
            }
        }
    }

    fn start_history_statement(&mut self, batch: HistoryBatch<HistoryRequest>) {
        let now = self.deps.clock.now();
        let topics = batch.topics.iter();
        let todays: Vec<_> = topics
            .map(|(topic, _)| self.calendar.today(topic, now))
            .collect();
        let stream = Arc::clone(self.deps.catalog.get(batch.stream));
        let reader = Arc::clone(&self.deps.reader);
        let limits = self.deps.config.history;
        self.histories.push(Box::pin(async move {
            let rows = reader
                .history(&stream, &keys(&batch), &todays, limits)
                .await;
            EngineEvent::HistoriesRead(batch, rows)
        }));
    }

    pub(super) fn on_histories(
        &mut self,
        batch: HistoryBatch<HistoryRequest>,
        histories: Result<Vec<TopicHistory>, ReadError>,
    ) {
        let now = monotonic_now();
        self.shared.lock().history.finish(batch.stream);
        let elapsed = now.saturating_duration_since(batch.started_at);
        self.metrics.history_seconds.observe(elapsed);
        match histories {
            Ok(histories) => self.send_histories(batch, histories),
            Err(error) => self.on_history_failure(batch, &error, now),
        }
    }

    fn send_histories(
        &mut self,
        batch: HistoryBatch<HistoryRequest>,
        histories: Vec<TopicHistory>,
    ) {
        let histories = histories.into_iter();
        let mut by_key: HashMap<_, _> = histories.map(|of| (of.key.clone(), of)).collect();
        for (topic, requests) in batch.topics {
            let found = by_key.remove(&topic.key);
            let history = found.unwrap_or_else(|| TopicHistory::empty(topic.key));
            self.metrics.history_rows.inc_by(history.count as u64);
            let result = if history.is_truncated {
                "truncated"
            } else {
                "complete"
            };
            self.count_histories(result, 1);
            if history.is_truncated && !std::mem::replace(self.history_log(batch.stream), true) {
                let (stream, rows) = (&self.deps.catalog.get(batch.stream).name, history.count);
                tracing::warn!(%stream, rows, key = %history.key, "a history has more rows than HISTORY_MAX_ROWS or more bytes than a frame may have; clients get the first rows");
            }
            send_to_all(&history, requests);
        }
    }

    fn on_history_failure(
        &mut self,
        batch: HistoryBatch<HistoryRequest>,
        error: &ReadError,
        now: Instant,
    ) {
        let (stream, topics) = (batch.stream, batch.topics.len());
        let name = &self.deps.catalog.get(stream).name;
        match error {
            ReadError::Rejected(_) if topics > 1 => {
                return self.shared.lock().history.separate(batch);
            }
            ReadError::Rejected(_) => {
                let key = batch.topics.first().map(|(topic, _)| topic.key.to_string());
                if let Some(left_out) = self.failure_log.record(stream, now) {
                    tracing::warn!(stream = %name, key, %error, left_out, "could not read the history of this key");
                }
                self.count_histories("rejected", topics);
            }
            ReadError::Broken(_) => {
                tracing::warn!(stream = %name, %error, "the history cannot be read; the stream goes on without it");
                self.shared.lock().history.refuse(stream, now);
                self.count_histories("broken", topics);
            }
            ReadError::Unavailable(_) => {
                tracing::warn!(stream = %name, %error, "could not read histories");
                self.count_histories("unavailable", topics);
            }
        }
    }

    /// Returns whether it was logged that histories of the stream are too long.
    fn history_log(&mut self, stream: latido_base::ident::StreamId) -> &mut bool {
        &mut self.logged_long_history[usize::from(stream.0)]
    }

    fn count_histories(&self, result: &'static str, topics: usize) {
        self.metrics.histories.increment_by(result, topics as u64);
    }
}

fn keys(batch: &HistoryBatch<HistoryRequest>) -> Vec<Key> {
    let topics = batch.topics.iter();
    topics.map(|(topic, _)| topic.key.clone()).collect()
}

/// Encodes a history once for each name of the channel, and sends it to everybody who asked.
fn send_to_all(history: &TopicHistory, requests: Vec<(Instant, HistoryRequest)>) {
    let mut frames: HashMap<Arc<str>, Frame> = HashMap::new();
    for (_, HistoryRequest { name, reply }) in requests {
        let encode = || native::encode_history(&name, &history.rows, history.is_truncated);
        let frame = frames.entry(Arc::clone(&name)).or_insert_with(encode);
        reply.send(Ok(frame.clone()));
    }
}
