//! Counts the changes that only the sweep found. Each of them is a change without a trigger's
//! notification.

use std::time::{Duration, Instant};

use latido_base::ident::{IterMap, Topic};

/// The time within which a late notification may still arrive. If it does, no change was missed.
const NOTIFICATION_GRACE: Duration = Duration::from_secs(2);

/// The changes found by the sweep whose notification may still arrive.
#[derive(Debug, Default)]
pub(super) struct MissedChanges {
    suspected_until: IterMap<Topic, Instant>,
}

impl MissedChanges {
    /// Records a change that only the sweep found.
    pub(super) fn record_sweep_change(&mut self, topic: &Topic, now: Instant) {
        self.suspected_until
            .entry(topic.clone())
            .or_insert(now + NOTIFICATION_GRACE);
    }

    /// Clears the suspicion for a key whose hint arrived after all.
    pub(super) fn clear_notified(&mut self, topic: &Topic) {
        if !self.suspected_until.is_empty() {
            self.suspected_until.swap_remove(topic);
        }
    }

    /// Returns the time at which the next suspicion becomes certain.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.suspected_until.values().min().copied()
    }

    /// Takes the keys whose notification did not arrive in time.
    pub(super) fn take_missed(&mut self, now: Instant) -> Vec<Topic> {
        self.suspected_until
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
        let mut missed = MissedChanges::default();
        missed.record_sweep_change(&topic("a"), start);
        missed.record_sweep_change(&topic("b"), start);
        missed.clear_notified(&topic("a"));
        assert_eq!(missed.take_missed(start + NOTIFICATION_GRACE / 2), []);
        assert_eq!(missed.next_due(), Some(start + NOTIFICATION_GRACE));
        assert_eq!(missed.take_missed(start + NOTIFICATION_GRACE), [topic("b")]);
        assert_eq!(missed.next_due(), None);
    }
}
