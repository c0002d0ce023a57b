//! The table of locks: wanted or held, each with the keys that need it. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::watch_locks::lock_hash::BUCKETS;
use latido_base::ident::Topic;

/// The time that an unneeded lock is kept: viewers who reload a page find it still held.
const UNLOCK_DELAY: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct LockEntry {
    /// The keys that need this lock, each with its other lock: its writers notify once both are
    /// held.
    topics: HashMap<Topic, u16>,
    /// True if the current connection holds the lock.
    is_held: bool,
    /// The time to release the lock, if no key needs it.
    unlock_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct LockTable {
    locks: HashMap<u16, LockEntry>,
}

impl LockTable {
    /// Adds a watched key with these locks. Returns whether both are held.
    pub(super) fn add(&mut self, [one, other]: [u16; 2], topic: &Topic) -> bool {
        let mut add = |lock: u16, other: u16| {
            let entry = self.locks.entry(lock).or_default();
            entry.topics.insert(topic.clone(), other);
            entry.unlock_at = None;
            entry.is_held
        };
        let held = [add(one, other), add(other, one)];
        held == [true, true]
    }

    /// Removes a key without viewers; its locks stay for a while.
    pub(super) fn remove(&mut self, locks: [u16; 2], topic: &Topic, now: Instant) {
        self.remove_key(locks, topic, now + UNLOCK_DELAY);
    }

    /// Removes a watched key, so that its writers may skip notifications. Returns `false`, without
    /// a change, if other keys need both locks.
    pub(super) fn release_for_polling(
        &mut self,
        locks: [u16; 2],
        topic: &Topic,
        now: Instant,
    ) -> bool {
        let is_its_own =
            |entry: &LockEntry| entry.topics.len() == 1 && entry.topics.contains_key(topic);
        let frees = locks
            .iter()
            .any(|lock| self.locks.get(lock).is_some_and(is_its_own));
        if frees {
            self.remove_key(locks, topic, now);
        }
        frees
    }

    fn remove_key(&mut self, locks: [u16; 2], topic: &Topic, until: Instant) {
        for lock in locks {
            let Some(entry) = self.locks.get_mut(&lock) else {
                continue;
            };
            entry.topics.remove(topic);
            if !entry.topics.is_empty() {
                continue;
            }
            if entry.is_held {
                entry.unlock_at = Some(until);
            } else {
                self.locks.remove(&lock);
            }
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

    /// Marks a lock as held. Returns the keys whose writers notify from now on. A lock that no key
    /// needs any more is scheduled for release.
    pub(super) fn mark_held(&mut self, lock: i32, now: Instant) -> Vec<Topic> {
        let Ok(lock) = u16::try_from(lock) else {
            return Vec::new();
        };
        let entry = self.locks.entry(lock).or_insert_with(|| LockEntry {
            unlock_at: Some(now + UNLOCK_DELAY),
            ..LockEntry::default()
        });
        entry.is_held = true;
        let others = &self.locks;
        let enabled =
            |(_, other): &(&Topic, &u16)| others.get(other).is_some_and(|other| other.is_held);
        others
            .get(&lock)
            .into_iter()
            .flat_map(|entry| &entry.topics)
            .filter(enabled)
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Returns whether the lock is still worth waiting for.
    pub(super) fn is_missing(&self, lock: i32) -> bool {
        let entry = u16::try_from(lock)
            .ok()
            .and_then(|lock| self.locks.get(&lock));
        entry.is_some_and(|entry| !entry.is_held)
    }

    /// Marks all locks as lost, after the connection was lost.
    pub(super) fn mark_all_lost(&mut self) {
        self.locks.retain(|_, lock| !lock.topics.is_empty());
        self.locks
            .values_mut()
            .for_each(|lock| lock.is_held = false);
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
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use latido_base::ident::{Key, StreamId};

    /// Returns locks that keys share: two buckets for the first hash, three for the second.
    fn test_lock_pair(key: u16) -> [u16; 2] {
        [key % 2, BUCKETS + key % 3]
    }

    fn topic(key: u16) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(&key.to_string()),
        }
    }

    proptest! {
        /// Writers of a key notify exactly when it is watched and both its locks are held. A lock
        /// is released only when no key needs it.
        #[test]
        fn writers_notify_when_both_locks_are_held(steps in prop::collection::vec((0u16..6, 0u8..6), 1..100)) {
            let (mut table, mut now) = (LockTable::default(), Instant::now());
            let (mut watched, mut held, mut enabled) = (HashSet::new(), HashSet::new(), HashSet::new());
            for (key, what) in steps {
                match what {
                    0 => {
                        let both = test_lock_pair(key).iter().all(|lock| held.contains(lock));
                        prop_assert_eq!(table.add(test_lock_pair(key), &topic(key)), both);
                        watched.insert(key);
                        if both {
                            enabled.insert(key);
                        }
                    }
                    1 => {
                        table.remove(test_lock_pair(key), &topic(key), now);
                        watched.remove(&key);
                        enabled.remove(&key);
                    }
                    2 => {
                        let missing = table.missing();
                        if let Some(lock) = missing.get(usize::from(key) % missing.len().max(1)) {
                            held.insert(u16::try_from(*lock).unwrap());
                            for topic in table.mark_held(*lock, now) {
                                enabled.insert(topic.key.as_str().parse().unwrap());
                            }
                        }
                    }
                    3 => {
                        now += UNLOCK_DELAY / 2;
                        for lock in table.take_idle(now) {
                            prop_assert!(held.remove(&u16::try_from(lock).unwrap()), "it was held");
                        }
                    }
                    4 if watched.contains(&key) => {
                        let needed = |lock: &u16| watched.iter().any(|other| *other != key && test_lock_pair(*other).contains(lock));
                        let is_released = table.release_for_polling(test_lock_pair(key), &topic(key), now);
                        prop_assert_eq!(is_released, !test_lock_pair(key).iter().all(needed));
                        if is_released {
                            watched.remove(&key);
                            enabled.remove(&key);
                            for lock in table.take_idle(now) {
                                prop_assert!(held.remove(&u16::try_from(lock).unwrap()), "it was held");
                            }
                            let free = |lock: &u16| !held.contains(lock);
                            prop_assert!(test_lock_pair(key).iter().any(free), "a writer can take one of them now");
                        }
                    }
                    4 => {}
                    _ => {
                        table.mark_all_lost();
                        held.clear();
                        enabled.clear();
                    }
                }
                let expected = watched.iter().copied().filter(|key| test_lock_pair(*key).iter().all(|lock| held.contains(lock)));
                prop_assert_eq!(&enabled, &expected.collect::<HashSet<_>>());
            }
        }
    }
}
