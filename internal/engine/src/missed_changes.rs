//! Counts the changes that only the sweep found. Each of them is a change without a trigger's
//! notification.

use std::time::{Duration, Instant};

use latido_base::ident::{IterMap, Topic};

/// The time within which a late notification may still arrive. If it does, no change was missed.
const NOTIFICATION_GRACE: Duration = Duration::from_secs(2);

/// The changes found by the sweep whose notification may still arrive.
#[derive(Debug, Default)]
pub(super) struct MissedChanges {
    suspected: IterMap<Topic, SuspectedChange>,
}

#[derive(Debug)]
struct SuspectedChange {
    until: Instant,
    is_explained: bool,
}

/// A change without a notification.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MissedChange {
    pub(super) topic: Topic,
    /// True if triggers or notifications were known to be missing when it happened.
    pub(super) is_explained: bool,
}

impl MissedChanges {
    /// Records a change that only the sweep found.
    pub(super) fn record_sweep_change(&mut self, topic: &Topic, is_explained: bool, now: Instant) {
        self.suspected
            .entry(topic.clone())
            .or_insert(SuspectedChange {
                until: now + NOTIFICATION_GRACE,
                is_explained,
            });
    }

    /// Clears the suspicion for a key whose hint arrived after all.
    pub(super) fn clear_notified(&mut self, topic: &Topic) {
        if !self.suspected.is_empty() {
            self.suspected.swap_remove(topic);
        }
    }

    /// Returns the time at which the next suspicion becomes certain.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.suspected.values().map(|change| change.until).min()
    }

    /// Takes the changes whose notification did not arrive in time.
    pub(super) fn take_missed(&mut self, now: Instant) -> Vec<MissedChange> {
        self.suspected
            .extract_if(.., |_, change| change.until <= now)
            .map(
                |(topic, SuspectedChange { is_explained, .. })| MissedChange {
                    topic,
                    is_explained,
                },
            )
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
        missed.record_sweep_change(&topic("a"), false, start);
        missed.record_sweep_change(&topic("b"), true, start);
        missed.clear_notified(&topic("a"));
        assert_eq!(missed.take_missed(start + NOTIFICATION_GRACE / 2), []);
        assert_eq!(missed.next_due(), Some(start + NOTIFICATION_GRACE));
        let late = MissedChange {
            topic: topic("b"),
            is_explained: true,
        };
        assert_eq!(missed.take_missed(start + NOTIFICATION_GRACE), [late]);
        assert_eq!(missed.next_due(), None);
    }
}
