//! Counts the changes that only the sweep found. Each of them is a change without a trigger's
//! notification.

use std::time::{Duration, Instant};

use latido_base::ident::{IterMap, Topic};

/// The time within which a late notification may still arrive. If it does, no change was missed.
const LATE: Duration = Duration::from_secs(2);

/// The changes found by the sweep whose notification may still arrive.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    suspected: IterMap<Topic, Instant>,
}

impl Corrections {
    /// Records a change that only the sweep found.
    pub(super) fn suspect(&mut self, topic: &Topic, now: Instant) {
        self.suspected.entry(topic.clone()).or_insert(now + LATE);
    }

    /// Clears the suspicion for a key whose hint arrived after all.
    pub(super) fn explain(&mut self, topic: &Topic) {
        if !self.suspected.is_empty() {
            self.suspected.swap_remove(topic);
        }
    }

    /// Returns the time at which the next suspicion becomes certain.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.suspected.values().min().copied()
    }

    /// Takes the keys whose notification did not arrive in time.
    pub(super) fn take_certain(&mut self, now: Instant) -> Vec<Topic> {
        self.suspected
            .extract_if(.., |_, due| *due <= now)
            .map(|(topic, _)| topic)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_base::ident::{Key, StreamId};

    fn topic(key: &str) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(key),
        }
    }

    #[test]
    fn only_changes_without_a_late_hint_are_missed() {
        let start = Instant::now();
        let mut missed = Corrections::default();
        missed.suspect(&topic("a"), start);
        missed.suspect(&topic("b"), start);
        missed.explain(&topic("a"));
        assert_eq!(missed.take_certain(start + LATE / 2), []);
        assert_eq!(missed.next_due(), Some(start + LATE));
        assert_eq!(missed.take_certain(start + LATE), [topic("b")]);
        assert_eq!(missed.next_due(), None);
    }
}
