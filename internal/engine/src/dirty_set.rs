//! The dirty set: the watched keys that must be read, with the time and the batch of each read.
//!
//! Pure: time is an argument and nothing blocks. A model test checks these invariants after every
//! call:
//!
//! - At most one statement at a time reads a key.
//! - A key that is marked while it is read is read again afterwards.
//! - A key without viewers is never read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::hint_source::HintSource;
use crate::hot_keys::PollingChange;
use crate::key_state::{KeyState, PendingRead};
use crate::other_topics::OtherTopics;
use crate::read_pacing::ReadPacing;
use latido_base::ident::{IterMap, StreamId, Topic};

/// The time after a hook's hint during which its key is read again, if no notification would report
/// the commit.
const RECHECK_FOR: Duration = Duration::from_secs(2);

/// The delay of the first recheck. Each later delay is twice as long.
const FIRST_RECHECK: Duration = Duration::from_millis(100);

/// The number of keys without viewers that the queues may hold in addition to twice the watched
/// keys.
const MAX_ABANDONED: usize = 1024;

/// The outcome of a hint for one key. Of several topics, the greatest says most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum MarkOutcome {
    /// The key has no viewers.
    Unwatched,
    /// The key was marked already.
    Coalesced,
    /// The key is marked now.
    Marked,
}

/// The dirty set; see the module's documentation. `W` is the type of the waiters for a read.
#[derive(Debug)]
pub(super) struct DirtySet<W> {
    /// The pacing of each stream.
    pub(super) pacing: Vec<ReadPacing>,
    pub(super) keys: IterMap<Topic, KeyState<W>>,
    /// Those of `keys` that are not the key itself.
    other_topics: OtherTopics,
    /// The keys that a statement reads now. Kept apart from `keys`: a topic may lose its viewers
    /// and find new ones while its read is under way.
    pub(super) reading: HashSet<Topic>,
    /// The keys that were too costly for a batch when they were last read. Also kept apart from
    /// `keys`, so that the cost is still known when a viewer comes back.
    pub(super) heavy_keys: IterMap<Topic, ()>,
    /// The keys in one of the three queues below. Also kept apart from `keys`, so that viewers who
    /// come and go cannot fill the queues.
    pub(super) queued: HashSet<Topic>,
    /// The queue of each stream: keys that are due, in the order in which they were marked.
    pub(super) ready: Vec<VecDeque<Topic>>,
    /// The queue of due keys that are read alone.
    pub(super) solo: VecDeque<Topic>,
    /// The marked keys that are not due yet, ordered by their time. An entry is outdated unless its
    /// time is that of [`KeyState::not_before`].
    pub(super) delayed: BinaryHeap<Reverse<(Instant, Topic)>>,
    /// The hints to add later: at most one recheck after a hook and one first read for each key.
    pub(super) scheduled_marks: BinaryHeap<Reverse<(Instant, Topic)>>,
    /// The index of the stream that is served next.
    pub(super) next_stream: usize,
    /// The keys that should start or stop polling, not yet taken.
    pub(super) polling_changes: Vec<(Topic, PollingChange)>,
}

impl<W> DirtySet<W> {
    /// Creates the dirty set of streams with this pacing each.
    pub(super) fn new(pacing: Vec<ReadPacing>) -> Self {
        Self {
            ready: pacing.iter().map(|_| VecDeque::new()).collect(),
            pacing,
            keys: IterMap::default(),
            other_topics: OtherTopics::default(),
            reading: HashSet::new(),
            heavy_keys: IterMap::default(),
            queued: HashSet::new(),
            solo: VecDeque::new(),
            delayed: BinaryHeap::new(),
            scheduled_marks: BinaryHeap::new(),
            next_stream: 0,
            polling_changes: Vec::new(),
        }
    }

    /// Returns the number of streams.
    pub(super) fn stream_count(&self) -> usize {
        self.pacing.len()
    }

    /// Adds the stream with the next id.
    pub(super) fn add_stream(&mut self, pacing: ReadPacing) {
        self.ready.push(VecDeque::new());
        self.pacing.push(pacing);
    }

    /// Returns the pacing of a stream of the catalog.
    pub(super) fn pacing(&self, stream: StreamId) -> &ReadPacing {
        &self.pacing[usize::from(stream.0)]
    }

    /// Adds a topic that has viewers from now on. It is read once it is marked.
    pub(super) fn watch(&mut self, topic: &Topic) {
        let share = if self.heavy_keys.contains_key(topic) {
            1
        } else {
            self.pacing(topic.stream).batch_keys
        };
        self.keys
            .entry(topic.clone())
            .or_insert_with(|| KeyState::new(share));
        self.other_topics.insert(topic);
    }

    /// Returns the watched topics of a key, which is a topic without parameters.
    pub(super) fn topics_of_key(&self, key: &Topic) -> Vec<Topic> {
        let own = self.keys.get_key_value(key).map(|(topic, _)| topic);
        let others = self.other_topics.of_key(key);
        own.into_iter().chain(others).cloned().collect()
    }

    /// Returns the watched topics of a key but the key itself.
    pub(super) fn other_topics(&self, key: &Topic) -> Vec<Topic> {
        self.other_topics.of_key(key).cloned().collect()
    }

    /// Schedules the key's first read at `at`, unless [`DirtySet::notifications_enabled`] comes
    /// first.
    pub(super) fn schedule_first_read(&mut self, topic: &Topic, at: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.first_read_at = Some(at);
            state.awaits_notifications = true;
            self.scheduled_marks.push(Reverse((at, topic.clone())));
            // Nothing is taken from the heap while the database is away.
            if self.scheduled_marks.len() > 2 * self.keys.len() + MAX_ABANDONED {
                self.drop_abandoned();
            }
        }
    }

    /// Marks a key whose writers send notifications from now on, because earlier changes may have
    /// sent none.
    pub(super) fn notifications_enabled(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.first_read_at = None;
            state.awaits_notifications = false;
            state.hot_key.stop_polling();
            self.mark(topic, HintSource::Subscribe, now);
        }
    }

    /// Starts polling: reads the key on a timer until [`DirtySet::notifications_enabled`].
    pub(super) fn start_polling(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.hot_key.start_polling(now);
            self.mark(topic, HintSource::Timer, now);
        }
    }

    /// Returns whether the key is polled on a timer.
    pub(super) fn is_polled(&self, topic: &Topic) -> bool {
        let state = self.keys.get(topic);
        state.is_some_and(|state| state.hot_key.is_polled())
    }

    /// Takes the keys whose writers should stop or resume notifications; each key once.
    pub(super) fn take_polling_changes(&mut self) -> Vec<(Topic, PollingChange)> {
        std::mem::take(&mut self.polling_changes)
    }

    /// Removes a topic without viewers. Its waiters are dropped, since no read follows.
    pub(super) fn unwatch(&mut self, topic: &Topic) {
        let state = self.keys.swap_remove(topic);
        self.other_topics.remove(topic);
        // The pause of a key must not delay the first read for its next viewer.
        if state.is_some_and(|state| state.pending.is_some() && state.not_before.is_some()) {
            self.queued.remove(topic);
        }
    }

    /// Marks a key that may have changed.
    pub(super) fn mark(&mut self, topic: &Topic, source: HintSource, now: Instant) -> MarkOutcome {
        let Some(state) = self.keys.get_mut(topic) else {
            return MarkOutcome::Unwatched;
        };
        if source == HintSource::Trigger {
            state.hot_key.record_notification(now);
        }
        if let Some(waiting) = &mut state.pending {
            waiting.sources.insert(source);
            if let Some(at) = state.take_earlier_retry(source, now) {
                self.delayed.push(Reverse((at, topic.clone())));
            }
            return MarkOutcome::Coalesced;
        }
        state.pending = Some(PendingRead {
            sources: source.into(),
            since: now,
            waiters: Vec::new(),
        });
        self.enqueue(topic, now);
        MarkOutcome::Marked
    }

    /// Adds a waiter for the next read of a key that was just marked. Returns `false` if the key
    /// has no viewers.
    pub(super) fn add_waiter(&mut self, topic: &Topic, waiter: W) -> bool {
        let waiting = self
            .keys
            .get_mut(topic)
            .and_then(|state| state.pending.as_mut());
        waiting.is_some_and(|waiting| {
            waiting.waiters.push(waiter);
            true
        })
    }

    /// Schedules repeated marks of the key, at growing intervals, for [`RECHECK_FOR`]: the request
    /// to the hook may precede the commit.
    pub(super) fn schedule_recheck(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic)
            && state.hooked_at.replace(now).is_none()
        {
            self.scheduled_marks
                .push(Reverse((now + FIRST_RECHECK, topic.clone())));
        }
    }

    /// Marks a key whose scheduled time has come, and schedules the next recheck.
    pub(super) fn on_scheduled_mark(&mut self, topic: Topic, now: Instant) {
        let Some(state) = self.keys.get_mut(&topic) else {
            return;
        };
        if state.first_read_at.take_if(|at| *at <= now).is_some() {
            self.mark(&topic, HintSource::Subscribe, now);
            return;
        }
        let Some(hooked) = state.hooked_at else {
            return;
        };
        let elapsed = now.saturating_duration_since(hooked);
        if elapsed < RECHECK_FOR {
            let next = elapsed.max(FIRST_RECHECK).min(RECHECK_FOR - elapsed);
            self.scheduled_marks
                .push(Reverse((now + next, topic.clone())));
        } else {
            state.hooked_at = None;
        }
        self.mark(&topic, HintSource::Hook, now);
    }

    /// Marks every watched key, or those of one stream. Returns the number of newly marked keys.
    pub(super) fn mark_all(
        &mut self,
        stream: Option<StreamId>,
        source: HintSource,
        now: Instant,
    ) -> usize {
        let topics: Vec<_> = self
            .keys
            .keys()
            .filter(|t| stream.is_none_or(|s| s == t.stream))
            .cloned()
            .collect();
        topics
            .iter()
            .filter(|topic| self.mark(topic, source, now) == MarkOutcome::Marked)
            .count()
    }

    /// Returns all topics that have viewers.
    pub(super) fn watched_topics(&self) -> impl Iterator<Item = &Topic> {
        self.keys.keys()
    }

    /// Returns the number of keys that wait to be read.
    pub(super) fn pending_keys(&self) -> usize {
        self.keys.values().filter(|s| s.pending.is_some()).count()
    }

    /// Returns the number of watched keys that will be read again although nothing changes: they are
    /// marked, are being read, are rechecked after a hook, or wait for their writers'
    /// notifications.
    pub(super) fn unsettled_keys(&self) -> usize {
        let is_unsettled = |(topic, state): &(&Topic, &KeyState<W>)| {
            state.pending.is_some()
                || state.hooked_at.is_some()
                || state.awaits_notifications
                || self.reading.contains(*topic)
        };
        self.keys.iter().filter(is_unsettled).count()
    }

    /// Puts a marked key into its queue, unless it is being read; then [`DirtySet::finish`] does
    /// it.
    pub(super) fn enqueue(&mut self, topic: &Topic, now: Instant) {
        let Some(state) = self.keys.get_mut(topic) else {
            return;
        };
        if state.pending.is_none()
            || self.reading.contains(topic)
            || !self.queued.insert(topic.clone())
        {
            return;
        }
        state.not_before = state.not_before.filter(|at| *at > now);
        match state.not_before {
            Some(at) => self.delayed.push(Reverse((at, topic.clone()))),
            None if state.max_batch_keys <= 1 => self.solo.push_back(topic.clone()),
            None => self.ready[usize::from(topic.stream.0)].push_back(topic.clone()),
        }
        let abandoned = self.queued.len().max(self.delayed.len());
        if abandoned > 2 * self.keys.len() + MAX_ABANDONED {
            self.drop_abandoned();
        }
    }

    /// Returns whether the key is marked, or will be by a timer.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn is_pending(&self, topic: &Topic) -> bool {
        self.keys
            .get(topic)
            .is_some_and(|state| state.pending.is_some() || state.first_read_at.is_some())
    }
}

#[cfg(test)]
#[path = "dirty_set_tests.rs"]
mod tests;
