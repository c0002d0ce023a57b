//! Tests of the table of locks against a model: keys with several topics, and streams with a gate.

use proptest::prelude::*;

use super::*;
use crate::watch_locks::lock_hash::LOCK_COUNT;
use latido_base::ident::{Key, StreamId};

/// The keys of the model. The first ones have no gate, and each two of the others share one.
const KEYS: u16 = 8;
const FIRST_GATED_KEY: u16 = 4;
/// The topics of each key.
const PARAMS: u16 = 2;

/// Returns locks that keys share: two buckets for the first hash, three for the second.
fn test_locks(topic: u16) -> KeyLocks {
    let key = topic / PARAMS;
    let gate = key.checked_sub(FIRST_GATED_KEY).map(|key| key / 2);
    KeyLocks {
        pair: [key % 2, BUCKETS + key % 3],
        gate: gate.map(|block| LOCK_COUNT + block * GATE_SLOTS),
    }
}

/// Returns all locks that a topic needs.
fn all_locks(topic: u16) -> Vec<u16> {
    let locks = test_locks(topic);
    let gate = locks.gate.map_or(0..0, |first| first..first + GATE_SLOTS);
    locks.pair.into_iter().chain(gate).collect()
}

/// Returns the topic with that number, counted over all keys.
fn topic(number: u16) -> Topic {
    let key = Key::from_canonical(&(number / PARAMS).to_string());
    Topic {
        stream: StreamId(0),
        key: key.with_params([number.to_string()]),
    }
}

fn number(topic: &Topic) -> u16 {
    topic.key.params().next().unwrap().parse().unwrap()
}

/// The table under test, next to the model.
struct ModelRun {
    table: LockTable,
    now: Instant,
    watched: HashSet<u16>,
    held: HashSet<u16>,
    enabled: HashSet<u16>,
    /// The gates of which all locks are held, while a key needs them.
    complete: HashSet<u16>,
}

impl ModelRun {
    fn new() -> Self {
        Self {
            table: LockTable::default(),
            now: Instant::now(),
            watched: HashSet::new(),
            held: HashSet::new(),
            enabled: HashSet::new(),
            complete: HashSet::new(),
        }
    }

    fn is_held(&self, topic: u16) -> bool {
        all_locks(topic).iter().all(|lock| self.held.contains(lock))
    }

    fn needs(&self, lock: u16) -> bool {
        self.watched
            .iter()
            .any(|topic| all_locks(*topic).contains(&lock))
    }

    fn apply(&mut self, at: u16, what: u8) -> Result<(), TestCaseError> {
        match what {
            0 | 1 => {
                let is_held = self.table.add(test_locks(at), &topic(at));
                prop_assert_eq!(is_held, self.is_held(at));
                self.watched.insert(at);
                if is_held {
                    self.enabled.insert(at);
                }
                if let Some(gate) = test_locks(at).gate
                    && (gate..gate + GATE_SLOTS).all(|lock| self.held.contains(&lock))
                {
                    self.complete.insert(gate);
                }
            }
            2 => {
                self.table.remove(test_locks(at), &topic(at), self.now);
                self.remove(|topic| topic == at);
            }
            3 | 4 => {
                // Many locks at once, so that gates become complete.
                let missing = self.table.locks_of_turn(usize::from(at));
                prop_assert!(missing.iter().all(|lock| self.table.is_missing(&[*lock])));
                let count = if what == 3 {
                    missing.len()
                } else {
                    missing.len() / 2
                };
                for lock in missing.into_iter().take(count) {
                    self.hold(lock)?;
                }
            }
            5 => {
                self.now += UNLOCK_DELAY / 2;
                self.release_idle()?;
            }
            6 if self.watched.contains(&at) => {
                let key = at / PARAMS;
                let is_other = |topic: &&u16| **topic / PARAMS != key;
                let others: HashSet<_> = self.watched.iter().filter(is_other).collect();
                let is_shared = |lock: &u16| {
                    others
                        .iter()
                        .any(|topic| test_locks(**topic).pair.contains(lock))
                };
                let pair = test_locks(at).pair;
                let is_released =
                    self.table
                        .release_for_polling(test_locks(at), &topic(at), self.now);
                prop_assert_eq!(is_released, !pair.iter().all(is_shared));
                if is_released {
                    self.remove(|topic| topic / PARAMS == key);
                    self.release_idle()?;
                    let is_free = |lock: &u16| !self.held.contains(lock);
                    prop_assert!(
                        pair.iter().any(is_free),
                        "a writer can take one of them now"
                    );
                }
            }
            6 => {}
            _ => {
                self.table.mark_all_lost();
                self.held.clear();
                self.enabled.clear();
                self.complete.clear();
            }
        }
        Ok(())
    }

    fn remove(&mut self, is_gone: impl Fn(u16) -> bool) {
        self.watched.retain(|topic| !is_gone(*topic));
        self.enabled.retain(|topic| !is_gone(*topic));
        let watched = &self.watched;
        let is_needed = |gate: &u16| {
            watched
                .iter()
                .any(|topic| test_locks(*topic).gate == Some(*gate))
        };
        self.complete.retain(is_needed);
    }

    fn hold(&mut self, lock: i32) -> Result<(), TestCaseError> {
        self.held.insert(u16::try_from(lock).unwrap());
        let outcome = self.table.mark_held(lock, self.now);
        self.enabled.extend(outcome.enabled.iter().map(number));
        if let Some(gate) = outcome.complete_gate {
            prop_assert!(
                self.complete.insert(gate),
                "each gate becomes complete once"
            );
        }
        Ok(())
    }

    fn release_idle(&mut self) -> Result<(), TestCaseError> {
        for lock in self.table.take_idle(self.now) {
            let lock = u16::try_from(lock).unwrap();
            prop_assert!(
                self.held.remove(&lock) && !self.needs(lock),
                "held, for no key"
            );
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let expected = self.watched.iter().copied();
        let expected: HashSet<_> = expected.filter(|topic| self.is_held(*topic)).collect();
        prop_assert_eq!(&self.enabled, &expected);
        let gates = self
            .watched
            .iter()
            .filter_map(|topic| test_locks(*topic).gate);
        let is_complete =
            |gate: &u16| (*gate..gate + GATE_SLOTS).all(|lock| self.held.contains(&lock));
        let gates: HashSet<_> = gates.filter(is_complete).collect();
        prop_assert_eq!(&self.complete, &gates);
        let missing: HashSet<_> = self.table.missing().into_iter().collect();
        let wanted = self.watched.iter().flat_map(|topic| all_locks(*topic));
        let wanted: HashSet<_> = wanted
            .filter(|lock| !self.held.contains(lock))
            .map(i32::from)
            .collect();
        prop_assert_eq!(missing, wanted);
        Ok(())
    }
}

proptest! {
    /// Writers of a key notify exactly when it is watched and all its locks are held. A lock is
    /// released only when no key needs it.
    #[test]
    fn writers_notify_when_all_locks_are_held(steps in prop::collection::vec((0..KEYS * PARAMS, 0u8..8), 1..100)) {
        let mut run = ModelRun::new();
        for (topic, what) in steps {
            run.apply(topic, what)?;
            run.check()?;
        }
    }
}

#[test]
fn key_stays_watched_while_one_of_its_topics_is() {
    let (mut table, now) = (LockTable::default(), Instant::now());
    let locks = test_locks(0);
    assert!(!table.add(locks, &topic(0)) && !table.add(locks, &topic(1)));
    for lock in locks.pair {
        table.mark_held(i32::from(lock), now);
    }
    table.remove(locks, &topic(0), now);
    assert!(table.take_idle(now + 2 * UNLOCK_DELAY).is_empty());
    table.remove(locks, &topic(1), now);
    assert_eq!(table.take_idle(now + 2 * UNLOCK_DELAY).len(), 2);
}

#[test]
fn gate_is_waited_for_as_a_whole_and_keys_one_by_one() {
    let mut table = LockTable::default();
    let gated = FIRST_GATED_KEY * PARAMS;
    table.add(test_locks(0), &topic(0));
    table.add(test_locks(gated), &topic(gated));
    let turns: Vec<_> = (0..4).map(|turn| table.locks_of_turn(turn).len()).collect();
    assert_eq!(turns, [1, 1, 1, usize::from(GATE_SLOTS)]);
    assert!(LockTable::default().locks_of_turn(7).is_empty());
}
