//! The table of locks: wanted or held, each with the keys that need it. Pure.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::lock_hash::{BUCKETS, GATE_SLOTS, gate_of_lock};
use latido_base::ident::Topic;

/// The time that an unneeded lock is kept: viewers who reload a page find it still held.
const UNLOCK_DELAY: Duration = Duration::from_secs(10);

/// The locks that a watched key needs. Its writers notify once all of them are held.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyLocks {
    /// The two locks of the key.
    pub(super) pair: [u16; 2],
    /// The first of the gate locks of its stream, if it has a gate.
    pub(super) gate: Option<u16>,
}

#[derive(Debug, Default)]
struct LockEntry {
    /// The topics whose key has this lock, each with all its locks.
    topics: HashMap<Topic, KeyLocks>,
    /// True if this is a gate lock of a stream with watched keys.
    is_gate: bool,
    /// True if the current connection holds the lock.
    is_held: bool,
    /// The time to release the lock, if no key needs it.
    unlock_at: Option<Instant>,
}

impl LockEntry {
    fn is_needed(&self) -> bool {
        self.is_gate || !self.topics.is_empty()
    }
}

/// The gate locks of one block, while a key needs them.
#[derive(Debug)]
struct GateEntry {
    topics: HashMap<Topic, KeyLocks>,
    /// The number of its locks that are not held.
    missing: u16,
}

/// The consequences of a lock that is held now.
#[derive(Debug, Default)]
pub(super) struct HeldLock {
    /// The topics whose writers notify from now on.
    pub(super) enabled: Vec<Topic>,
    /// The first lock of the gate of which this was the last one.
    pub(super) complete_gate: Option<u16>,
}

#[derive(Debug, Default)]
pub(super) struct LockTable {
    locks: HashMap<u16, LockEntry>,
    /// The needed gates, by their first lock.
    gates: HashMap<u16, GateEntry>,
}

impl LockTable {
    /// Adds a watched topic with these locks. Returns whether all of them are held.
    pub(super) fn add(&mut self, locks: KeyLocks, topic: &Topic) -> bool {
        for lock in locks.pair {
            let entry = self.locks.entry(lock).or_default();
            entry.topics.insert(topic.clone(), locks);
            entry.unlock_at = None;
        }
        if let Some(first) = locks.gate {
            self.add_gate(first).topics.insert(topic.clone(), locks);
        }
        self.are_held(locks)
    }

    /// Returns the gate with this first lock, whose locks are needed from now on.
    fn add_gate(&mut self, first: u16) -> &mut GateEntry {
        let locks = &mut self.locks;
        self.gates.entry(first).or_insert_with(|| {
            let mut missing = 0;
            for lock in first..first + GATE_SLOTS {
                let entry = locks.entry(lock).or_default();
                (entry.is_gate, entry.unlock_at) = (true, None);
                missing += u16::from(!entry.is_held);
            }
            GateEntry {
                topics: HashMap::new(),
                missing,
            }
        })
    }

    fn are_held(&self, locks: KeyLocks) -> bool {
        let is_held = |lock| self.locks.get(lock).is_some_and(|entry| entry.is_held);
        let is_open = |first| self.gates.get(&first).is_some_and(|gate| gate.missing == 0);
        locks.pair.iter().all(is_held) && locks.gate.is_none_or(is_open)
    }

    /// Removes a topic without viewers; its locks stay for a while.
    pub(super) fn remove(&mut self, locks: KeyLocks, topic: &Topic, now: Instant) {
        self.remove_topic(locks, topic, now + UNLOCK_DELAY);
    }

    /// Removes the watched topics of a topic's key, so that its writers may skip notifications.
    /// Returns `false`, without a change, if other keys need both locks.
    pub(super) fn release_for_polling(
        &mut self,
        locks: KeyLocks,
        topic: &Topic,
        now: Instant,
    ) -> bool {
        let key = topic.without_params();
        let is_of_key = |other: &Topic| other.without_params() == key;
        let frees = |lock| {
            let topics = self.locks.get(lock).map(|entry| &entry.topics);
            topics.is_some_and(|topics| !topics.is_empty() && topics.keys().all(is_of_key))
        };
        if !locks.pair.iter().any(frees) {
            return false;
        }
        let topics = locks.pair.iter().filter_map(|lock| self.locks.get(lock));
        let topics = topics.flat_map(|entry| entry.topics.keys());
        let topics: HashSet<_> = topics.filter(|other| is_of_key(other)).cloned().collect();
        for topic in &topics {
            self.remove_topic(locks, topic, now);
        }
        true
    }

    fn remove_topic(&mut self, locks: KeyLocks, topic: &Topic, until: Instant) {
        for lock in locks.pair {
            if let Some(entry) = self.locks.get_mut(&lock) {
                entry.topics.remove(topic);
            }
            self.release_unneeded(lock, until);
        }
        let Some(first) = locks.gate else { return };
        let Some(gate) = self.gates.get_mut(&first) else {
            return;
        };
        gate.topics.remove(topic);
        if gate.topics.is_empty() {
            self.gates.remove(&first);
            for lock in first..first + GATE_SLOTS {
                if let Some(entry) = self.locks.get_mut(&lock) {
                    entry.is_gate = false;
                }
                self.release_unneeded(lock, until);
            }
        }
    }

    /// Schedules the release of a lock that no key needs any more.
    fn release_unneeded(&mut self, lock: u16, until: Instant) {
        match self.locks.get_mut(&lock) {
            Some(entry) if !entry.is_needed() && entry.is_held => entry.unlock_at = Some(until),
            Some(entry) if !entry.is_needed() => drop(self.locks.remove(&lock)),
            _ => {}
        }
    }

    /// Returns the locks that are wanted and not held.
    pub(super) fn missing(&self) -> Vec<i32> {
        self.locks
            .iter()
            .filter(|(_, entry)| !entry.is_held)
            .map(|(lock, _)| i32::from(*lock))
            .collect()
    }

    /// Returns the missing locks to wait for in this turn: the missing ones of one gate, which are
    /// of use together, or one lock of a key. They take turns, since a long transaction must not
    /// delay other keys.
    pub(super) fn locks_of_turn(&self, turn: usize) -> Vec<i32> {
        let missing = self.locks.iter().filter(|(_, entry)| !entry.is_held);
        let mut missing: Vec<_> = missing.map(|(lock, _)| *lock).collect();
        missing.sort_unstable();
        let is_same_gate = |one: &u16, other: &u16| {
            gate_of_lock(*one).is_some_and(|first| gate_of_lock(*other) == Some(first))
        };
        let groups: Vec<_> = missing.chunk_by(is_same_gate).collect();
        let group = groups.get(turn % groups.len().max(1));
        let group = group.copied().unwrap_or_default();
        group.iter().copied().map(i32::from).collect()
    }

    /// Marks a lock as held. A lock that no key needs any more is scheduled for release.
    pub(super) fn mark_held(&mut self, lock: i32, now: Instant) -> HeldLock {
        let Ok(lock) = u16::try_from(lock) else {
            return HeldLock::default();
        };
        let entry = self.locks.entry(lock).or_insert_with(|| LockEntry {
            unlock_at: Some(now + UNLOCK_DELAY),
            ..LockEntry::default()
        });
        let was_held = std::mem::replace(&mut entry.is_held, true);
        let gate = gate_of_lock(lock).filter(|_| entry.is_gate && !was_held);
        if let Some(gate) = gate.and_then(|first| self.gates.get_mut(&first)) {
            gate.missing -= 1;
        }
        let gate = gate.filter(|first| self.gates.get(first).is_some_and(|gate| gate.missing == 0));
        let needing = match gate {
            Some(first) => self.gates.get(&first).map(|gate| &gate.topics),
            None => self.locks.get(&lock).map(|entry| &entry.topics),
        };
        let enabled = needing.into_iter().flatten();
        let enabled = enabled.filter(|(_, locks)| self.are_held(**locks));
        HeldLock {
            enabled: enabled.map(|(topic, _)| topic.clone()).collect(),
            complete_gate: gate,
        }
    }

    /// Returns whether one of the locks is still worth waiting for.
    pub(super) fn is_missing(&self, locks: &[i32]) -> bool {
        let is_missing = |lock: &i32| {
            let lock = u16::try_from(*lock).ok();
            let entry = lock.and_then(|lock| self.locks.get(&lock));
            entry.is_some_and(|entry| !entry.is_held)
        };
        locks.iter().any(is_missing)
    }

    /// Marks all locks as lost, after the connection was lost.
    pub(super) fn mark_all_lost(&mut self) {
        self.locks.retain(|_, lock| lock.is_needed());
        self.locks
            .values_mut()
            .for_each(|lock| lock.is_held = false);
        self.gates
            .values_mut()
            .for_each(|gate| gate.missing = GATE_SLOTS);
    }

    /// Removes the locks whose time to release has come, and returns them for unlocking.
    pub(super) fn take_idle(&mut self, now: Instant) -> Vec<i32> {
        let idle = |entry: &LockEntry| entry.unlock_at.is_some_and(|until| until <= now);
        self.locks
            .extract_if(|_, entry| idle(entry))
            .map(|(lock, _)| i32::from(lock))
            .collect()
    }

    /// Returns the next time at which a lock must be released.
    pub(super) fn next_unlock_at(&self) -> Option<Instant> {
        self.locks
            .values()
            .filter_map(|entry| entry.unlock_at)
            .min()
    }

    /// Returns the number of held locks of the first half, and the number of locks of both halves
    /// that are wanted and not held.
    pub(super) fn counts(&self) -> (usize, usize) {
        let held = self
            .locks
            .iter()
            .filter(|(lock, entry)| **lock < BUCKETS && entry.is_held)
            .count();
        (
            held,
            self.locks.values().filter(|entry| !entry.is_held).count(),
        )
    }
}

#[cfg(test)]
#[path = "lock_table_tests.rs"]
mod tests;
