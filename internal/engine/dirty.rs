//! The dirty set: which watched keys must be read, when, and together with which others.
//!
//! Pure: time comes in as an argument, nothing waits. What must hold after every call (and is tested as a model):
//! a key is read by at most one statement at a time; a key marked while it is read is read again afterwards; a key that nobody watches is never read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use crate::engine::batch::{Batch, Outcome, Taken, Weight};
use crate::engine::heat::Turn;
use crate::engine::key::{KeyState, Waiting};
use crate::engine::{Pace, Source};
use crate::ident::{Map, StreamId, Topic};

/// How long after a hook its key is read again, where nothing else would tell of the commit.
const REMIND_FOR: Duration = Duration::from_secs(2);
/// The first of these reads; the distances double.
const REMIND_FIRST: Duration = Duration::from_millis(100);
/// How many giants are remembered after their last viewer left.
const GIANTS: usize = 1024;
/// How many keys without viewers may stand in the queues beside as many as have some.
const ABANDONED: usize = 1024;

/// What became of a hint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Nobody watches the key.
    Unwatched,
    /// It was waiting already.
    Coalesced,
    /// It waits now.
    Marked,
}

/// See the module's documentation. `W` is whoever waits for a read.
#[derive(Debug)]
pub(super) struct Dirty<W> {
    pace: Pace,
    keys: Map<Topic, KeyState<W>>,
    /// Kept apart from `keys`: a topic may lose its viewers and find new ones while its read is under way.
    reading: HashSet<Topic>,
    /// Keys that were too much for a batch when they were last read. Kept apart as well, so that a viewer who comes back finds it known.
    giants: HashSet<Topic>,
    /// In one of the three queues below. Kept apart from `keys` too, so that viewers who come and go can't fill the queues.
    queued: HashSet<Topic>,
    /// Waiting and due, in the order they came, per stream.
    ready: Vec<VecDeque<Topic>>,
    /// The same for keys that are read alone.
    solo: VecDeque<Topic>,
    /// Waiting until their time has come.
    delayed: BinaryHeap<Reverse<(Instant, Topic)>>,
    /// Hints to give later: at most one of the hook a key, and one for its first read.
    reminders: BinaryHeap<Reverse<(Instant, Topic)>>,
    /// The stream that is served next.
    turn: usize,
    /// Keys that became hot, or are no more.
    turns: Vec<(Topic, Turn)>,
}

impl<W> Dirty<W> {
    pub(super) fn new(pace: Pace, streams: usize) -> Self {
        Self {
            pace,
            keys: Map::default(),
            reading: HashSet::new(),
            giants: HashSet::new(),
            queued: HashSet::new(),
            ready: (0..streams).map(|_| VecDeque::new()).collect(),
            solo: VecDeque::new(),
            delayed: BinaryHeap::new(),
            reminders: BinaryHeap::new(),
            turn: 0,
            turns: Vec::new(),
        }
    }

    /// The topic has viewers from now on. It is read once it is marked.
    pub(super) fn watch(&mut self, topic: &Topic) {
        let share = if self.giants.contains(topic) {
            1
        } else {
            self.pace.batch_keys
        };
        self.keys
            .entry(topic.clone())
            .or_insert_with(|| KeyState::new(share));
    }

    /// Reads the key at `at`, unless [`Dirty::armed`] comes first.
    pub(super) fn provide(&mut self, topic: &Topic, at: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.provisional = Some(at);
            self.reminders.push(Reverse((at, topic.clone())));
        }
    }

    /// The key's writers tell of their changes from now on; what they changed before is to be read.
    pub(super) fn armed(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.provisional = None;
            state.heat.end();
            self.mark(topic, Source::Subscribe, now);
        }
    }

    /// Reads the key on a timer from now on, until [`Dirty::armed`] says that its writers tell.
    pub(super) fn time(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic) {
            state.heat.start(now);
            self.mark(topic, Source::Timer, now);
        }
    }

    /// The keys of which writers should tell again, or no more; each once.
    pub(super) fn take_turns(&mut self) -> Vec<(Topic, Turn)> {
        std::mem::take(&mut self.turns)
    }

    /// Nobody watches the topic any more. Its waiters are dropped: there is nothing to wait for.
    pub(super) fn unwatch(&mut self, topic: &Topic) {
        self.keys.remove(topic);
    }

    /// The key may have changed.
    pub(super) fn mark(&mut self, topic: &Topic, source: Source, now: Instant) -> Mark {
        let Some(state) = self.keys.get_mut(topic) else {
            return Mark::Unwatched;
        };
        if source == Source::Trigger {
            state.heat.told(now);
        }
        if let Some(waiting) = &mut state.waiting {
            waiting.sources.insert(source);
            return Mark::Coalesced;
        }
        state.waiting = Some(Waiting {
            sources: source.into(),
            since: now,
            waiters: Vec::new(),
        });
        self.enqueue(topic, now);
        Mark::Marked
    }

    /// Adds somebody who waits for the next read of a key that was just marked. False: nobody watches it.
    pub(super) fn wait(&mut self, topic: &Topic, waiter: W) -> bool {
        let waiting = self
            .keys
            .get_mut(topic)
            .and_then(|state| state.waiting.as_mut());
        waiting.is_some_and(|waiting| {
            waiting.waiters.push(waiter);
            true
        })
    }

    /// Gives the hint again and again, at growing distances, for [`REMIND_FOR`]: the hook's caller may not have committed yet.
    pub(super) fn remind(&mut self, topic: &Topic, now: Instant) {
        if let Some(state) = self.keys.get_mut(topic)
            && state.hooked.replace(now).is_none()
        {
            self.reminders
                .push(Reverse((now + REMIND_FIRST, topic.clone())));
        }
    }

    /// The reminder of a key is due: mark it, and set the next one.
    fn remind_again(&mut self, topic: Topic, now: Instant) {
        let Some(state) = self.keys.get_mut(&topic) else {
            return;
        };
        if state.provisional.take_if(|at| *at <= now).is_some() {
            self.mark(&topic, Source::Subscribe, now);
            return;
        }
        let Some(hooked) = state.hooked else { return };
        let elapsed = now.saturating_duration_since(hooked);
        if elapsed < REMIND_FOR {
            let next = elapsed.max(REMIND_FIRST).min(REMIND_FOR - elapsed);
            self.reminders.push(Reverse((now + next, topic.clone())));
        } else {
            state.hooked = None;
        }
        self.mark(&topic, Source::Hook, now);
    }

    /// Marks every watched key, or those of one stream.
    pub(super) fn mark_all(
        &mut self,
        stream: Option<StreamId>,
        source: Source,
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
            .filter(|topic| self.mark(topic, source, now) == Mark::Marked)
            .count()
    }

    /// Watched topics.
    pub(super) fn watched(&self) -> impl Iterator<Item = &Topic> {
        self.keys.keys()
    }

    /// How many keys wait to be read.
    pub(super) fn waiting(&self) -> usize {
        self.keys.values().filter(|s| s.waiting.is_some()).count()
    }

    /// Whether the key's last read was refused.
    pub(super) fn is_failing(&self, topic: &Topic) -> bool {
        self.keys.get(topic).is_some_and(|state| state.failures > 0)
    }

    /// Whether every watched key of the stream failed alone: then it is the stream that fails.
    pub(super) fn all_failing(&self, stream: StreamId) -> bool {
        let mut failing = self
            .keys
            .iter()
            .filter(|(t, _)| t.stream == stream)
            .map(|(_, s)| s.failures > 0)
            .peekable();
        failing.peek().is_some() && failing.all(|fails| fails)
    }

    /// Puts a waiting key into the queue it belongs to, unless it is read just now: [`Dirty::finish`] does it then.
    fn enqueue(&mut self, topic: &Topic, now: Instant) {
        let Some(state) = self.keys.get(topic) else {
            return;
        };
        if state.waiting.is_none()
            || self.reading.contains(topic)
            || !self.queued.insert(topic.clone())
        {
            return;
        }
        match state.not_before {
            Some(at) if at > now => self.delayed.push(Reverse((at, topic.clone()))),
            _ if state.share <= 1 => self.solo.push_back(topic.clone()),
            _ => self.ready[usize::from(topic.stream.0)].push_back(topic.clone()),
        }
        if self.queued.len() > 2 * self.keys.len() + ABANDONED {
            self.forget_abandoned();
        }
    }

    /// Drops queued keys that nobody watches any more; otherwise they go when their turn comes, which it doesn't while the database is away.
    fn forget_abandoned(&mut self) {
        let keys = &self.keys;
        self.queued.retain(|topic| keys.contains_key(topic));
        self.ready
            .iter_mut()
            .for_each(|queue| queue.retain(|topic| keys.contains_key(topic)));
        self.solo.retain(|topic| keys.contains_key(topic));
        self.delayed
            .retain(|Reverse((_, topic))| keys.contains_key(topic));
        self.reminders
            .retain(|Reverse((_, topic))| keys.contains_key(topic));
    }

    /// Moves what has become due into the queues.
    fn promote(&mut self, now: Instant) {
        while let Some(Reverse((at, topic))) = self.reminders.pop() {
            if at > now {
                self.reminders.push(Reverse((at, topic)));
                break;
            }
            self.remind_again(topic, now);
        }
        while let Some(Reverse((at, topic))) = self.delayed.pop() {
            if at > now {
                self.delayed.push(Reverse((at, topic)));
                break;
            }
            self.queued.remove(&topic);
            self.enqueue(&topic, now);
        }
    }

    /// When something that is not yet due will be. What is due already only waits for a lane.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let earliest =
            |heap: &BinaryHeap<Reverse<(Instant, Topic)>>| heap.peek().map(|Reverse((at, _))| *at);
        [earliest(&self.delayed), earliest(&self.reminders)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next keys to read together: of a stream for which `free` says that its lane is, streams in turn, keys in the order they came.
    pub(super) fn take(
        &mut self,
        now: Instant,
        free: impl Fn(StreamId) -> bool,
    ) -> Option<Batch<W>> {
        self.promote(now);
        for step in 0..self.ready.len() {
            let index = (self.turn + step) % self.ready.len();
            let stream = StreamId(u16::try_from(index).unwrap_or(u16::MAX));
            if !free(stream) {
                continue;
            }
            let keys = self.collect(index);
            if !keys.is_empty() {
                self.turn = index + 1;
                return Some(self.start(Batch {
                    stream,
                    keys,
                    started: now,
                    solo: false,
                }));
            }
        }
        None
    }

    /// The next key that is read alone.
    pub(super) fn take_solo(&mut self, now: Instant) -> Option<Batch<W>> {
        self.promote(now);
        while let Some(topic) = self.solo.pop_front() {
            if let Some(taken) = self.take_key(topic) {
                return Some(self.start(Batch {
                    stream: taken.topic.stream,
                    keys: vec![taken],
                    started: now,
                    solo: true,
                }));
            }
        }
        None
    }

    fn collect(&mut self, index: usize) -> Vec<Taken<W>> {
        let mut keys = Vec::new();
        let mut limit = self.pace.batch_keys;
        while keys.len() < limit {
            let Some(topic) = self.ready[index].pop_front() else {
                break;
            };
            let share = self.keys.get(&topic).map_or(limit, |state| state.share);
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

    /// A key out of its queue, unless it lost its viewers meanwhile, or (watched anew) is still being read.
    fn take_key(&mut self, topic: Topic) -> Option<Taken<W>> {
        self.queued.remove(&topic);
        let state = self.keys.get_mut(&topic)?;
        if self.reading.contains(&topic) {
            return None;
        }
        let waiting = state.waiting.take()?;
        let Waiting {
            sources,
            since,
            waiters,
        } = waiting;
        let hot = state.heat.is_timed();
        Some(Taken {
            topic,
            sources,
            since,
            waiters,
            weight: Weight::Unknown,
            hot,
            changed: false,
        })
    }

    fn start(&mut self, batch: Batch<W>) -> Batch<W> {
        self.reading
            .extend(batch.keys.iter().map(|key| key.topic.clone()));
        batch
    }

    fn remember(&mut self, key: &Taken<W>) {
        match key.weight {
            Weight::Giant if self.giants.len() < GIANTS => {
                drop(self.giants.insert(key.topic.clone()))
            }
            Weight::Light => drop(self.giants.remove(&key.topic)),
            Weight::Giant | Weight::Unknown => {}
        }
    }

    /// Takes a batch back. Returns the waiters who can be told, and whether their read succeeded.
    pub(super) fn finish(
        &mut self,
        batch: Batch<W>,
        outcome: Outcome,
        now: Instant,
    ) -> (Vec<W>, bool) {
        let alone = batch.keys.len() == 1;
        let shared = (batch.keys.len() / 2).max(1);
        let mut told = Vec::new();
        for key in batch.keys {
            self.reading.remove(&key.topic);
            self.remember(&key);
            let Some(state) = self.keys.get_mut(&key.topic) else {
                told.extend(key.waiters);
                continue;
            };
            state.not_before = Some(batch.started + self.pace.min_interval);
            match outcome {
                Outcome::Done { slow } => {
                    state.failures = 0;
                    state.share = match key.weight {
                        Weight::Giant => 1,
                        _ if slow => shared,
                        Weight::Light => self.pace.batch_keys,
                        Weight::Unknown => (state.share * 2).min(self.pace.batch_keys),
                    };
                    if alone && key.weight == Weight::Giant {
                        let took = now.saturating_duration_since(batch.started);
                        state.not_before = state.not_before.max(Some(now + pause(took, key.hot)));
                    }
                    told.extend(key.waiters);
                    let turn = state.heat.read(key.changed, now, self.pace.hot_from);
                    self.turns
                        .extend(turn.map(|turn| (key.topic.clone(), turn)));
                    if state.heat.is_timed() {
                        state.wait_again(Source::Timer.into(), now, Vec::new());
                    }
                }
                Outcome::Rejected if !alone => {
                    state.share = 1;
                    state.not_before = None;
                    state.wait_again(key.sources, key.since, key.waiters);
                }
                Outcome::Rejected => {
                    let pause = self
                        .pace
                        .backoff
                        .saturating_mul(1 << state.failures.min(16))
                        .min(self.pace.max_backoff);
                    // What takes seconds to fail, at a time-out, must not keep the database busy more than half of the time.
                    let pause = pause.max(now.saturating_duration_since(batch.started));
                    state.failures = state.failures.saturating_add(1);
                    state.not_before = Some(now + pause);
                    state.wait_again(key.sources, key.since, Vec::new());
                    told.extend(key.waiters);
                }
                Outcome::Unavailable => {
                    state.not_before = None;
                    state.wait_again(key.sources, key.since, Vec::new());
                    told.extend(key.waiters);
                }
            }
            self.enqueue(&key.topic, now);
        }
        (told, matches!(outcome, Outcome::Done { .. }))
    }
}

/// How long a giant that changes all the time rests after a read that took so long: it keeps the database busy half of the time at most, and a
/// tenth if it is read on a timer, for then it never stops. Nobody waits more than a second for that.
fn pause(took: Duration, hot: bool) -> Duration {
    if hot {
        took.max((took * 9).min(Duration::from_secs(1)))
    } else {
        took
    }
}

#[cfg(test)]
#[path = "dirty_tests.rs"]
mod tests;
