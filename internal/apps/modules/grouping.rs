//! Bursts of the same kind of news: the first goes out at once, then at most one a window, and of what came meanwhile the newest. Pure.

use std::collections::HashMap;
use std::hash::Hash;

use crate::apps::modules::dates::Millis;

#[derive(Debug)]
struct Group<V> {
    /// When something last went out.
    sent_at: Millis,
    /// What came since.
    newest: Option<V>,
}

/// News by what they are about. Holds nothing about whatever was quiet for a window.
#[derive(Debug)]
pub(super) struct Grouping<K, V> {
    window_ms: Millis,
    groups: HashMap<K, Group<V>>,
}

impl<K: Eq + Hash + Clone, V> Grouping<K, V> {
    /// A window of 0: everything goes out at once.
    pub(super) fn new(window_ms: Millis) -> Self {
        Self {
            window_ms: window_ms.max(0),
            groups: HashMap::new(),
        }
    }

    /// Gives the news back if they are to go out now; else they, or newer ones, go out when they are [due](Self::due).
    pub(super) fn offer(&mut self, key: K, news: V, now: Millis) -> Option<V> {
        if self.window_ms == 0 {
            return Some(news);
        }
        let window = self.window_ms;
        let Some(group) = self.groups.get_mut(&key) else {
            self.groups.insert(
                key,
                Group {
                    sent_at: now,
                    newest: None,
                },
            );
            return Some(news);
        };
        // A clock that went back must not hold news for longer than a window.
        if group.newest.is_none()
            && !(group.sent_at..group.sent_at.saturating_add(window)).contains(&now)
        {
            group.sent_at = now;
            return Some(news);
        }
        group.sent_at = group.sent_at.min(now);
        group.newest = Some(news);
        None
    }

    /// When [`Self::due`] should be called next.
    pub(super) fn next_due(&self) -> Option<Millis> {
        let waiting = self.groups.values().filter(|group| group.newest.is_some());
        waiting
            .map(|group| group.sent_at.saturating_add(self.window_ms))
            .min()
    }

    /// What is to go out by now. Forgets what was quiet.
    pub(super) fn due(&mut self, now: Millis) -> Vec<(K, V)> {
        let window = self.window_ms;
        let mut due = Vec::new();
        self.groups.retain(|key, group| {
            if now < group.sent_at.saturating_add(window) {
                return true;
            }
            let Some(news) = group.newest.take() else {
                return false;
            };
            group.sent_at = now;
            due.push((key.clone(), news));
            true
        });
        due
    }

    /// Forgets what waits about something.
    pub(super) fn forget(&mut self, key: &K) {
        self.groups.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_at_once_the_newest_later() {
        let mut grouping = Grouping::new(100);
        assert_eq!(grouping.offer("a", 1, 1_000), Some(1));
        assert_eq!(grouping.offer("a", 2, 1_010), None);
        assert_eq!(grouping.offer("b", 9, 1_020), Some(9));
        assert_eq!(grouping.offer("a", 3, 1_050), None);
        assert_eq!(grouping.next_due(), Some(1_100));
        assert!(grouping.due(1_099).is_empty());
        assert_eq!(grouping.due(1_100), [("a", 3)]);
        assert_eq!(grouping.next_due(), None);
        assert!(grouping.due(1_300).is_empty());
        assert!(
            grouping.groups.is_empty(),
            "nothing is kept about the quiet"
        );
    }

    proptest! {
        #[test]
        fn the_last_that_went_out_is_the_newest_and_few_go_out(
            steps in proptest::collection::vec((0u8..3, 0i64..70), 1..200),
        ) {
            let (mut grouping, mut now) = (Grouping::new(100), 5_000);
            let mut offered: HashMap<u8, usize> = HashMap::new();
            let mut sent: HashMap<u8, Vec<(usize, i64)>> = HashMap::new();
            for (n, (key, wait)) in steps.into_iter().enumerate() {
                now += wait;
                for (key, news) in grouping.due(now) {
                    sent.entry(key).or_default().push((news, now));
                }
                offered.insert(key, n);
                if let Some(news) = grouping.offer(key, n, now) {
                    sent.entry(key).or_default().push((news, now));
                }
            }
            for (key, news) in grouping.due(now + 100) {
                sent.entry(key).or_default().push((news, now + 100));
            }
            for (key, newest) in offered {
                let sent = &sent[&key];
                prop_assert_eq!(sent.last().map(|(news, _)| *news), Some(newest));
                prop_assert!(sent.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[1].1 - pair[0].1 >= 100));
            }
        }
    }
}
