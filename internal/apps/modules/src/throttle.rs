//! Throttles bursts of events of one kind. The first event goes out at once, then at most one per
//! window: the newest. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use crate::time_format::Millis;

#[derive(Debug)]
struct ThrottleEntry<V> {
    /// The time of the last event that went out.
    sent_at: Millis,
    /// The newest event since then.
    pending: Option<V>,
}

/// A throttle per key. It keeps no entry for a key that was quiet for a window.
#[derive(Debug)]
pub(super) struct LatestThrottle<K, V> {
    window_ms: Millis,
    entries: HashMap<K, ThrottleEntry<V>>,
}

impl<K: Eq + Hash + Clone, V> LatestThrottle<K, V> {
    /// Creates a throttle. With a window of 0, all events go out at once.
    pub(super) fn new(window_ms: Millis) -> Self {
        Self {
            window_ms: window_ms.max(0),
            entries: HashMap::new(),
        }
    }

    /// Returns the value if it may go out now. Otherwise it, or a newer one, is returned when
    /// [due](Self::take_due).
    pub(super) fn push(&mut self, key: K, value: V, now: Millis) -> Option<V> {
        if self.window_ms == 0 {
            return Some(value);
        }
        let window = self.window_ms;
        let Some(entry) = self.entries.get_mut(&key) else {
            self.entries.insert(
                key,
                ThrottleEntry {
                    sent_at: now,
                    pending: None,
                },
            );
            return Some(value);
        };
        // A clock that went back must not delay an event by more than one window.
        if entry.pending.is_none()
            && !(entry.sent_at..entry.sent_at.saturating_add(window)).contains(&now)
        {
            entry.sent_at = now;
            return Some(value);
        }
        entry.sent_at = entry.sent_at.min(now);
        entry.pending = Some(value);
        None
    }

    /// Returns the time at which [`Self::take_due`] should be called next.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let waiting = self
            .entries
            .values()
            .filter(|entry| entry.pending.is_some());
        waiting
            .map(|entry| entry.sent_at.saturating_add(self.window_ms))
            .min()
    }

    /// Takes the values that are due, and forgets quiet keys.
    pub(super) fn take_due(&mut self, now: Millis) -> Vec<(K, V)> {
        let window = self.window_ms;
        let mut due = Vec::new();
        self.entries.retain(|key, entry| {
            if now < entry.sent_at.saturating_add(window) {
                return true;
            }
            let Some(value) = entry.pending.take() else {
                return false;
            };
            entry.sent_at = now;
            due.push((key.clone(), value));
            true
        });
        due
    }

    /// Removes the entry and the pending value of a key.
    pub(super) fn remove(&mut self, key: &K) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_value_goes_out_at_once_and_newest_later() {
        let mut grouping = LatestThrottle::new(100);
        assert_eq!(grouping.push("a", 1, 1_000), Some(1));
        assert_eq!(grouping.push("a", 2, 1_010), None);
        assert_eq!(grouping.push("b", 9, 1_020), Some(9));
        assert_eq!(grouping.push("a", 3, 1_050), None);
        assert_eq!(grouping.next_due(), Some(1_100));
        assert!(grouping.take_due(1_099).is_empty());
        assert_eq!(grouping.take_due(1_100), [("a", 3)]);
        assert_eq!(grouping.next_due(), None);
        assert!(grouping.take_due(1_300).is_empty());
        assert!(
            grouping.entries.is_empty(),
            "nothing is kept about the quiet"
        );
    }

    proptest! {
        #[test]
        fn last_value_is_the_newest_and_rate_is_bounded(
            steps in proptest::collection::vec((0u8..3, 0i64..70), 1..200),
        ) {
            let (mut grouping, mut now) = (LatestThrottle::new(100), 5_000);
            let mut offered: HashMap<u8, usize> = HashMap::new();
            let mut sent: HashMap<u8, Vec<(usize, i64)>> = HashMap::new();
            for (n, (key, wait)) in steps.into_iter().enumerate() {
                now += wait;
                for (key, value) in grouping.take_due(now) {
                    sent.entry(key).or_default().push((value, now));
                }
                offered.insert(key, n);
                if let Some(value) = grouping.push(key, n, now) {
                    sent.entry(key).or_default().push((value, now));
                }
            }
            for (key, value) in grouping.take_due(now + 100) {
                sent.entry(key).or_default().push((value, now + 100));
            }
            for (key, newest) in offered {
                let sent = &sent[&key];
                prop_assert_eq!(sent.last().map(|(value, _)| *value), Some(newest));
                prop_assert!(sent.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].1 - pair[0].1 >= 100));
            }
        }
    }
}
