//! The keys that moved, until every transaction that was open at that time has ended. Pure.
//!
//! A trigger that looks the key of a row up in another row cannot see that a second transaction
//! moves that row to a new key. It reports the old key, or nothing, and the new key was read before
//! the first transaction's change was visible. Only transactions that were open at the time of the
//! move can have looked up the old key, so the new key is read again when they have ended.
//!
//! The moves that arrive before a query for the open transactions starts are one *generation*: all
//! of them wait for the transactions that this query finds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use latido_base::backoff::Backoff;
use latido_base::ident::{StreamId, Topic};
use latido_stream::{Catalog, OpenTransaction};

/// The largest number of moved keys of one stream in a generation. Beyond it, every key of the
/// stream counts as moved.
const MAX_MOVED_KEYS: usize = 1_000;

/// The largest number of generations. While there are so many, newer moves wait for one of them to
/// end. Each does, because it never waits for newer transactions.
const MAX_GENERATIONS: usize = 8;

/// The shortest and the longest pause between two queries for the open transactions.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Keys of one stream, which are topics without parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MovedOfStream {
    Keys(BTreeSet<Topic>),
    Every,
}

impl MovedOfStream {
    fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Keys(keys), Self::Keys(mut others)) => keys.append(&mut others),
            _ => *self = Self::Every,
        }
        if matches!(self, Self::Keys(keys) if keys.len() > MAX_MOVED_KEYS) {
            *self = Self::Every;
        }
    }

    #[cfg(any(test, feature = "simulation"))]
    fn contains(&self, key: &Topic) -> bool {
        match self {
            Self::Keys(keys) => keys.contains(key),
            Self::Every => true,
        }
    }
}

/// Moved keys by their stream.
pub(super) type Moved = BTreeMap<StreamId, MovedOfStream>;

fn merge(into: &mut Moved, from: Moved) {
    for (stream, moved) in from {
        match into.get_mut(&stream) {
            Some(known) => known.merge(moved),
            None => drop(into.insert(stream, moved)),
        }
    }
}

/// Moved keys that wait for the same transactions.
#[derive(Debug)]
struct Generation {
    moved: Moved,
    open: BTreeSet<OpenTransaction>,
}

impl Generation {
    /// Forgets the transactions that have ended. One of them may have been prepared instead, and go
    /// on as one of `newly_prepared`.
    fn update(&mut self, open: &BTreeSet<OpenTransaction>, newly_prepared: &[OpenTransaction]) {
        let has_left = |known: &OpenTransaction| !known.is_prepared && !open.contains(known);
        let may_be_prepared = self.open.iter().any(has_left);
        self.open.retain(|known| open.contains(known));
        if may_be_prepared {
            self.open.extend(newly_prepared.iter().cloned());
        }
    }
}

/// The moved keys of the streams that look keys up; see the module's documentation.
#[derive(Debug)]
pub(super) struct MovedKeys {
    /// The number of watched topics of each stream that looks keys up. Moves of the others do not
    /// matter.
    watched: BTreeMap<StreamId, usize>,
    /// The moves since the last query was started.
    new: Moved,
    /// The moves before the query under way, if there is one.
    queried: Option<Moved>,
    generations: Vec<Generation>,
    /// The prepared transactions that the last query found.
    prepared: BTreeSet<OpenTransaction>,
    /// The time of the last query's result.
    last_result: Option<Instant>,
    next_query: Option<Instant>,
    pauses: Backoff,
    is_failing: bool,
}

impl Default for MovedKeys {
    fn default() -> Self {
        Self {
            watched: BTreeMap::new(),
            new: Moved::new(),
            queried: None,
            generations: Vec::new(),
            prepared: BTreeSet::new(),
            last_result: None,
            next_query: None,
            pauses: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
            is_failing: false,
        }
    }
}

impl MovedKeys {
    /// Adds the streams with an id from this number on, before one of them has a viewer.
    pub(super) fn add_streams(&mut self, catalog: &Catalog, first: usize) {
        let new = catalog.all_from(first);
        let looking_up = new.filter(|(_, stream)| stream.looks_up_keys());
        self.watched.extend(looking_up.map(|(id, _)| (id, 0)));
    }

    /// Adds a watched topic. Moves are not recorded while a stream has none, so its first topic
    /// counts as a move of every key.
    pub(super) fn watch(&mut self, topic: &Topic, now: Instant) {
        let Some(count) = self.watched.get_mut(&topic.stream) else {
            return;
        };
        *count += 1;
        if *count == 1 {
            self.add_every_key(topic.stream, now);
        }
    }

    /// Removes a watched topic. Forgets the moves of a stream that has no other.
    pub(super) fn unwatch(&mut self, topic: &Topic) {
        let Some(count) = self.watched.get_mut(&topic.stream) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let waiting = self.generations.iter_mut().map(|of| &mut of.moved);
        for moved in waiting.chain(&mut self.queried).chain([&mut self.new]) {
            moved.remove(&topic.stream);
        }
        self.generations.retain(|of| !of.moved.is_empty());
        if self.generations.is_empty() && self.new.is_empty() {
            self.next_query = None;
        }
    }

    /// Records that rows moved to this key, which is a topic without parameters.
    pub(super) fn add(&mut self, key: &Topic, now: Instant) {
        let keys = MovedOfStream::Keys(BTreeSet::from([key.clone()]));
        self.add_moved(key.stream, keys, now);
    }

    /// Records that rows may have moved to any key of the stream.
    pub(super) fn add_every_key(&mut self, stream: StreamId, now: Instant) {
        self.add_moved(stream, MovedOfStream::Every, now);
    }

    /// Records that rows may have moved to any key of any stream.
    pub(super) fn add_everything(&mut self, now: Instant) {
        let streams: Vec<_> = self.watched.keys().copied().collect();
        for stream in streams {
            self.add_every_key(stream, now);
        }
    }

    fn add_moved(&mut self, stream: StreamId, moved: MovedOfStream, now: Instant) {
        if self.watched.get(&stream).is_none_or(|count| *count == 0) {
            return;
        }
        merge(&mut self.new, Moved::from([(stream, moved)]));
        // The sooner the transactions are known, the fewer of them began after the move. A failing
        // query keeps its pauses.
        if !self.is_failing || self.next_query.is_none() {
            let soonest = self.last_result.map_or(now, |last| last + SHORTEST_PAUSE);
            let soonest = soonest.max(now);
            self.next_query = Some(self.next_query.map_or(soonest, |at| at.min(soonest)));
            self.pauses.reset();
        }
    }

    /// Returns the time of the next query for the open transactions. `None` while one is under way,
    /// or none is needed.
    pub(super) fn next_query(&self) -> Option<Instant> {
        self.next_query.filter(|_| self.queried.is_none())
    }

    /// Starts a query: the moves so far wait for the transactions that it will find.
    pub(super) fn start_query(&mut self) {
        self.next_query = None;
        self.queried = Some(match self.is_full() {
            false => std::mem::take(&mut self.new),
            true => Moved::new(),
        });
    }

    fn is_full(&self) -> bool {
        self.generations.len() >= MAX_GENERATIONS
    }

    /// Handles the result of a query, which is `None` if it failed. Returns the keys that must be
    /// read again, because the transactions that they waited for have ended.
    pub(super) fn finish_query(
        &mut self,
        result: Option<Vec<OpenTransaction>>,
        now: Instant,
    ) -> Moved {
        let queried = self.queried.take().unwrap_or_default();
        self.is_failing = result.is_none();
        self.last_result = Some(now);
        let due = match result {
            Some(open) => self.update_generations(queried, open.into_iter().collect()),
            None => {
                merge(&mut self.new, queried);
                Moved::new()
            }
        };
        let is_moving_on = !due.is_empty() || (!self.new.is_empty() && !self.is_full());
        if is_moving_on && !self.is_failing {
            self.pauses.reset();
        }
        let is_needed = !self.generations.is_empty() || !self.new.is_empty();
        self.next_query = is_needed.then(|| now + self.pauses.next_pause());
        due
    }

    /// Begins a generation of the moves before a query, whose result is this one. Returns the keys
    /// of the generations whose transactions have all ended.
    fn update_generations(&mut self, moved: Moved, open: BTreeSet<OpenTransaction>) -> Moved {
        let is_new =
            |found: &&OpenTransaction| found.is_prepared && !self.prepared.contains(*found);
        let newly_prepared: Vec<_> = open.iter().filter(is_new).cloned().collect();
        for generation in &mut self.generations {
            generation.update(&open, &newly_prepared);
        }
        self.prepared = open.iter().filter(|of| of.is_prepared).cloned().collect();
        self.generations.push(Generation { moved, open });
        let mut due = Moved::new();
        for generation in std::mem::take(&mut self.generations) {
            if generation.open.is_empty() {
                merge(&mut due, generation.moved);
            } else if !generation.moved.is_empty() {
                self.keep(generation);
            }
        }
        due
    }

    /// Keeps a generation, with another one that waits for the same transactions if there is one.
    fn keep(&mut self, generation: Generation) {
        let is_same = |other: &&mut Generation| other.open == generation.open;
        match self.generations.iter_mut().find(is_same) {
            Some(other) => merge(&mut other.moved, generation.moved),
            None => self.generations.push(generation),
        }
    }

    /// Returns the number of keys that wait for transactions. If every key of a stream does, its
    /// watched topics are counted.
    pub(super) fn waiting_keys(&self) -> usize {
        let mut all = Moved::new();
        self.waiting()
            .for_each(|moved| merge(&mut all, moved.clone()));
        let count = |(stream, moved): (&StreamId, &MovedOfStream)| match moved {
            MovedOfStream::Keys(keys) => keys.len(),
            MovedOfStream::Every => self.watched.get(stream).copied().unwrap_or_default(),
        };
        all.iter().map(count).sum()
    }

    fn waiting(&self) -> impl Iterator<Item = &Moved> {
        let generations = self.generations.iter().map(|of| &of.moved);
        generations.chain(&self.queried).chain([&self.new])
    }

    /// Returns whether the key, which is a topic without parameters, waits for transactions.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn is_waiting(&self, key: &Topic) -> bool {
        let of_stream = self.waiting().filter_map(|moved| moved.get(&key.stream));
        of_stream.into_iter().any(|moved| moved.contains(key))
    }
}

#[cfg(test)]
#[path = "moved_keys_tests.rs"]
mod tests;
