//! Which locks are wanted, which are held, and whose keys hang on them. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::ident::Topic;
use crate::postgres::interest::bucket::BUCKETS;

/// How long a lock that nobody wants is kept: viewers who reload a page find it still there.
const LINGER: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Lock {
    /// Each with its other lock: its writers tell once both are held.
    topics: HashMap<Topic, u16>,
    /// On the connection of now.
    is_held: bool,
    /// When to give it back, since nobody wants it.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Wanted {
    locks: HashMap<u16, Lock>,
}

impl Wanted {
    /// Somebody watches a key with these locks. True: both are held.
    pub(super) fn add(&mut self, [one, other]: [u16; 2], topic: &Topic) -> bool {
        let mut add = |lock: u16, other: u16| {
            let entry = self.locks.entry(lock).or_default();
            entry.topics.insert(topic.clone(), other);
            entry.until = None;
            entry.is_held
        };
        let held = [add(one, other), add(other, one)];
        held == [true, true]
    }

    /// Nobody watches the key any more.
    pub(super) fn remove(&mut self, locks: [u16; 2], topic: &Topic, now: Instant) {
        self.drop_key(locks, topic, now + LINGER);
    }

    /// Writers of the key may be silent although it is watched. False: its locks are needed for others, and it keeps them.
    pub(super) fn relax(&mut self, locks: [u16; 2], topic: &Topic, now: Instant) -> bool {
        let is_its_own = |entry: &Lock| entry.topics.len() == 1 && entry.topics.contains_key(topic);
        let frees = locks
            .iter()
            .any(|lock| self.locks.get(lock).is_some_and(is_its_own));
        if frees {
            self.drop_key(locks, topic, now);
        }
        frees
    }

    fn drop_key(&mut self, locks: [u16; 2], topic: &Topic, until: Instant) {
        for lock in locks {
            let Some(entry) = self.locks.get_mut(&lock) else {
                continue;
            };
            entry.topics.remove(topic);
            if !entry.topics.is_empty() {
                continue;
            }
            if entry.is_held {
                entry.until = Some(until);
            } else {
                self.locks.remove(&lock);
            }
        }
    }

    /// Wanted, but not held.
    pub(super) fn missing(&self) -> Vec<i32> {
        self.locks
            .iter()
            .filter(|(_, entry)| !entry.is_held)
            .map(|(lock, _)| i32::from(*lock))
            .collect()
    }

    /// The lock was taken. Returns the keys whose writers tell from now on; if nobody wants it any more, it is given back later.
    pub(super) fn held(&mut self, lock: i32, now: Instant) -> Vec<Topic> {
        let Ok(lock) = u16::try_from(lock) else {
            return Vec::new();
        };
        let entry = self.locks.entry(lock).or_insert_with(|| Lock {
            until: Some(now + LINGER),
            ..Lock::default()
        });
        entry.is_held = true;
        let others = &self.locks;
        let armed =
            |(_, other): &(&Topic, &u16)| others.get(other).is_some_and(|other| other.is_held);
        others
            .get(&lock)
            .into_iter()
            .flat_map(|entry| &entry.topics)
            .filter(armed)
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Whether the lock is still worth waiting for.
    pub(super) fn is_missing(&self, lock: i32) -> bool {
        let entry = u16::try_from(lock)
            .ok()
            .and_then(|lock| self.locks.get(&lock));
        entry.is_some_and(|entry| !entry.is_held)
    }

    /// The connection is gone, and every lock with it.
    pub(super) fn lost(&mut self) {
        self.locks.retain(|_, lock| !lock.topics.is_empty());
        self.locks
            .values_mut()
            .for_each(|lock| lock.is_held = false);
    }

    /// Forgets the locks that nobody has wanted for a while; they are to be given back.
    pub(super) fn take_idle(&mut self, now: Instant) -> Vec<i32> {
        let idle = |entry: &Lock| entry.until.is_some_and(|until| until <= now);
        self.locks
            .extract_if(|_, entry| idle(entry))
            .map(|(lock, _)| i32::from(lock))
            .collect()
    }

    /// When the next lock will have been idle long enough.
    pub(super) fn next_idle(&self) -> Option<Instant> {
        self.locks.values().filter_map(|entry| entry.until).min()
    }

    /// Buckets of the first hash whose locks are held, and locks of both that are wanted but not held.
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
    use crate::ident::{Key, StreamId};

    /// Keys that share locks: with both hashes of two and three buckets.
    fn locks(key: u16) -> [u16; 2] {
        [key % 2, BUCKETS + key % 3]
    }

    fn topic(key: u16) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(&key.to_string()),
        }
    }

    proptest! {
        /// A key counts as armed exactly when both its locks are held and it is watched; a lock is given back only when no key needs it.
        #[test]
        fn a_key_is_armed_by_both_its_locks(steps in prop::collection::vec((0u16..6, 0u8..6), 1..100)) {
            let (mut wanted, mut now) = (Wanted::default(), Instant::now());
            let (mut watched, mut held, mut armed) = (HashSet::new(), HashSet::new(), HashSet::new());
            for (key, what) in steps {
                match what {
                    0 => {
                        let both = locks(key).iter().all(|lock| held.contains(lock));
                        prop_assert_eq!(wanted.add(locks(key), &topic(key)), both);
                        watched.insert(key);
                        if both {
                            armed.insert(key);
                        }
                    }
                    1 => {
                        wanted.remove(locks(key), &topic(key), now);
                        watched.remove(&key);
                        armed.remove(&key);
                    }
                    2 => {
                        let missing = wanted.missing();
                        if let Some(lock) = missing.get(usize::from(key) % missing.len().max(1)) {
                            held.insert(u16::try_from(*lock).unwrap());
                            for topic in wanted.held(*lock, now) {
                                armed.insert(topic.key.as_str().parse().unwrap());
                            }
                        }
                    }
                    3 => {
                        now += LINGER / 2;
                        for lock in wanted.take_idle(now) {
                            prop_assert!(held.remove(&u16::try_from(lock).unwrap()), "it was held");
                        }
                    }
                    4 if watched.contains(&key) => {
                        let needed = |lock: &u16| watched.iter().any(|other| *other != key && locks(*other).contains(lock));
                        let relaxed = wanted.relax(locks(key), &topic(key), now);
                        prop_assert_eq!(relaxed, !locks(key).iter().all(needed));
                        if relaxed {
                            watched.remove(&key);
                            armed.remove(&key);
                            for lock in wanted.take_idle(now) {
                                prop_assert!(held.remove(&u16::try_from(lock).unwrap()), "it was held");
                            }
                            let free = |lock: &u16| !held.contains(lock);
                            prop_assert!(locks(key).iter().any(free), "a writer can have one of them now");
                        }
                    }
                    4 => {}
                    _ => {
                        wanted.lost();
                        held.clear();
                        armed.clear();
                    }
                }
                let expected = watched.iter().copied().filter(|key| locks(*key).iter().all(|lock| held.contains(lock)));
                prop_assert_eq!(&armed, &expected.collect::<HashSet<_>>());
            }
        }
    }
}
