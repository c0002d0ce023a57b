//! Taking batches out of the dirty set, and what their outcome changes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::dirty_set::DirtySet;
use crate::hint_source::HintSource;
use crate::key_state::PendingRead;
use crate::read_batch::{BatchKey, BatchOutcome, KeyCost, ReadBatch};
use latido_base::ident::{StreamId, Topic};

/// The largest number of heavy keys that are remembered after their last viewer left.
const MAX_HEAVY_KEYS: usize = 1024;

/// The shortest pause of a failing key before an attempt that follows a change of its rows.
const RETRY_AFTER_CHANGE: Duration = Duration::from_millis(250);

impl<W> DirtySet<W> {
    /// Removes queued keys without viewers. Otherwise they would stay until their turn, which does
    /// not come while the database is away.
    pub(super) fn drop_abandoned(&mut self) {
        let keys = &self.keys;
        self.queued.retain(|topic| keys.contains_key(topic));
        self.ready
            .iter_mut()
            .for_each(|queue| queue.retain(|topic| keys.contains_key(topic)));
        self.solo.retain(|topic| keys.contains_key(topic));
        self.delayed.retain(|Reverse((at, topic))| {
            keys.get(topic).is_some_and(|s| s.not_before == Some(*at))
        });
        self.scheduled_marks.retain(|Reverse((at, topic))| {
            // A key that was watched anew has a new time for its first read.
            keys.get(topic)
                .is_some_and(|state| state.first_read_at == Some(*at) || state.hooked_at.is_some())
        });
    }

    /// Moves keys that have become due into the queues.
    pub(super) fn promote_due(&mut self, now: Instant) {
        while let Some(Reverse((at, topic))) = self.scheduled_marks.pop() {
            if at > now {
                self.scheduled_marks.push(Reverse((at, topic)));
                break;
            }
            self.on_scheduled_mark(topic, now);
        }
        while let Some(Reverse((at, topic))) = self.delayed.pop() {
            if at > now {
                self.delayed.push(Reverse((at, topic)));
                break;
            }
            // An entry that an earlier attempt replaced, or whose key lost its viewers, is outdated.
            let planned = self.keys.get(&topic).and_then(|state| state.not_before);
            if planned == Some(at) {
                self.queued.remove(&topic);
                self.enqueue(&topic, now);
            }
        }
    }

    /// Returns the next time at which a key becomes due. Keys that are due already only wait for a
    /// free slot.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let earliest =
            |heap: &BinaryHeap<Reverse<(Instant, Topic)>>| heap.peek().map(|Reverse((at, _))| *at);
        [earliest(&self.delayed), earliest(&self.scheduled_marks)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes the next keys to read together. Considers only streams for which `free` returns
    /// `true`. Streams take turns; keys keep the order in which they were marked.
    pub(super) fn take_batch(
        &mut self,
        now: Instant,
        free: impl Fn(StreamId) -> bool,
    ) -> Option<ReadBatch<W>> {
        self.promote_due(now);
        for step in 0..self.ready.len() {
            let index = (self.next_stream + step) % self.ready.len();
            let stream = StreamId(u16::try_from(index).unwrap_or(u16::MAX));
            if !free(stream) {
                continue;
            }
            let keys = self.collect_keys(index);
            if !keys.is_empty() {
                self.next_stream = index + 1;
                return Some(self.mark_reading(ReadBatch {
                    stream,
                    keys,
                    started_at: now,
                    is_solo: false,
                }));
            }
        }
        None
    }

    /// Takes the next key that is read alone.
    pub(super) fn take_solo(&mut self, now: Instant) -> Option<ReadBatch<W>> {
        self.promote_due(now);
        while let Some(topic) = self.solo.pop_front() {
            if let Some(taken) = self.take_key(topic) {
                return Some(self.mark_reading(ReadBatch {
                    stream: taken.topic.stream,
                    keys: vec![taken],
                    started_at: now,
                    is_solo: true,
                }));
            }
        }
        None
    }

    pub(super) fn collect_keys(&mut self, index: usize) -> Vec<BatchKey<W>> {
        let mut keys = Vec::new();
        let mut limit = self.pacing[index].batch_keys;
        while keys.len() < limit {
            let Some(topic) = self.ready[index].pop_front() else {
                break;
            };
            let share = self
                .keys
                .get(&topic)
                .map_or(limit, |state| state.max_batch_keys);
            if share <= keys.len() {
                self.ready[index].push_front(topic);
                break;
            }
            if let Some(taken) = self.take_key(topic) {
                limit = limit.min(share);
                keys.push(taken);
            }
        }
        keys
    }

    /// Takes a key out of its queue. Returns `None` if it has lost its viewers, or was watched anew
    /// while a statement still reads it.
    pub(super) fn take_key(&mut self, topic: Topic) -> Option<BatchKey<W>> {
        self.queued.remove(&topic);
        let state = self.keys.get_mut(&topic)?;
        if self.reading.contains(&topic) {
            return None;
        }
        let waiting = state.pending.take()?;
        let PendingRead {
            sources,
            since,
            waiters,
        } = waiting;
        let hot = state.hot_key.is_polled();
        Some(BatchKey {
            topic,
            sources,
            since,
            waiters,
            cost: KeyCost::Unknown,
            is_polled: hot,
            has_changed: false,
        })
    }

    pub(super) fn mark_reading(&mut self, batch: ReadBatch<W>) -> ReadBatch<W> {
        self.reading
            .extend(batch.keys.iter().map(|key| key.topic.clone()));
        batch
    }

    pub(super) fn record_cost(&mut self, key: &BatchKey<W>) {
        match key.cost {
            KeyCost::Heavy => {
                self.heavy_keys.insert(key.topic.clone(), ());
                // The oldest is forgotten, so that topics that nobody watches any more do not keep
                // others out for ever.
                if self.heavy_keys.len() > MAX_HEAVY_KEYS {
                    self.heavy_keys.shift_remove_index(0);
                }
            }
            KeyCost::Light => {
                self.heavy_keys.shift_remove(&key.topic);
            }
            KeyCost::Unknown => {}
        }
    }

    /// Takes a finished batch back. Returns the waiters to notify, and whether their read
    /// succeeded.
    pub(super) fn finish(
        &mut self,
        batch: ReadBatch<W>,
        outcome: BatchOutcome,
        now: Instant,
    ) -> (Vec<W>, bool) {
        let alone = batch.keys.len() == 1;
        let shared = (batch.keys.len() / 2).max(1);
        let pacing = self.pacing(batch.stream).clone();
        let mut notified = Vec::new();
        for key in batch.keys {
            self.reading.remove(&key.topic);
            self.record_cost(&key);
            let Some(state) = self.keys.get_mut(&key.topic) else {
                notified.extend(key.waiters);
                continue;
            };
            state.not_before = Some(batch.started_at + pacing.min_interval);
            match outcome {
                BatchOutcome::Done { is_slow: slow } => {
                    state.failures = 0;
                    state.retry_after_change_at = None;
                    state.max_batch_keys = match key.cost {
                        KeyCost::Heavy => 1,
                        _ if slow => shared,
                        KeyCost::Light => pacing.batch_keys,
                        KeyCost::Unknown => (state.max_batch_keys * 2).min(pacing.batch_keys),
                    };
                    if alone && key.cost == KeyCost::Heavy {
                        let took = now.saturating_duration_since(batch.started_at);
                        state.not_before = state
                            .not_before
                            .max(Some(now + pause_after_heavy_read(took, key.is_polled)));
                    }
                    notified.extend(key.waiters);
                    let change = state.hot_key.on_read(key.has_changed, now, pacing.hot_from);
                    self.polling_changes
                        .extend(change.map(|change| (key.topic.clone(), change)));
                    if state.hot_key.is_polled() {
                        state.merge_pending(HintSource::Timer.into(), now, Vec::new());
                    }
                }
                BatchOutcome::Rejected if !alone => {
                    state.max_batch_keys = 1;
                    state.not_before = None;
                    state.merge_pending(key.sources, key.since, key.waiters);
                }
                BatchOutcome::Rejected => {
                    let pause = pacing.backoff.pause_after(state.failures);
                    // A read that fails after seconds, by a time-out, must not keep the database
                    // busy more than half of the time.
                    let elapsed = now.saturating_duration_since(batch.started_at);
                    let pause = pause.max(elapsed);
                    state.retry_after_change_at = Some(now + elapsed.max(RETRY_AFTER_CHANGE));
                    state.failures = state.failures.saturating_add(1);
                    state.not_before = Some(now + pause);
                    state.merge_pending(key.sources, key.since, Vec::new());
                    notified.extend(key.waiters);
                }
                BatchOutcome::Broken => {
                    state.not_before = None;
                    notified.extend(key.waiters);
                }
                BatchOutcome::Unavailable => {
                    state.not_before = None;
                    state.merge_pending(key.sources, key.since, Vec::new());
                    notified.extend(key.waiters);
                }
            }
            self.enqueue(&key.topic, now);
        }
        (notified, matches!(outcome, BatchOutcome::Done { .. }))
    }
}

/// Returns the pause after a read of a heavy key that took `took`. A heavy key that changes all the
/// time keeps the database busy at most half of the time. A polled one never stops, so it gets a
/// tenth, but its pause grows to at most one second.
fn pause_after_heavy_read(took: Duration, hot: bool) -> Duration {
    if hot {
        took.max((took * 9).min(Duration::from_secs(1)))
    } else {
        took
    }
}
