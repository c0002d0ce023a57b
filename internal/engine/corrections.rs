//! Counts the changes that only the sweep found: each is a change that no trigger told of.

use std::time::{Duration, Instant};

use crate::ident::{Map, Topic};

/// A notification that is merely late arrives within this; then the sweep was no correction.
const LATE: Duration = Duration::from_secs(2);

/// Changes found by the sweep whose notification may still arrive.
#[derive(Debug, Default)]
pub(super) struct Corrections {
    suspected: Map<Topic, Instant>,
}

impl Corrections {
    /// The sweep alone found that this key had changed.
    pub(super) fn suspect(&mut self, topic: &Topic, now: Instant) {
        self.suspected.entry(topic.clone()).or_insert(now + LATE);
    }

    /// A hint for the key arrived after all.
    pub(super) fn explain(&mut self, topic: &Topic) {
        if !self.suspected.is_empty() {
            self.suspected.remove(topic);
        }
    }

    /// When the next suspicion becomes a certainty.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.suspected.values().min().copied()
    }

    /// The keys whose change nobody told of in time.
    pub(super) fn take_certain(&mut self, now: Instant) -> Vec<Topic> {
        self.suspected
            .extract_if(|_, due| *due <= now)
            .map(|(topic, _)| topic)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{Key, StreamId};

    fn topic(key: &str) -> Topic {
        Topic {
            stream: StreamId(0),
            key: Key::from_canonical(key),
        }
    }

    #[test]
    fn only_what_stays_unexplained_is_a_correction() {
        let start = Instant::now();
        let mut corrections = Corrections::default();
        corrections.suspect(&topic("a"), start);
        corrections.suspect(&topic("b"), start);
        corrections.explain(&topic("a"));
        assert_eq!(corrections.take_certain(start + LATE / 2), []);
        assert_eq!(corrections.next_due(), Some(start + LATE));
        assert_eq!(corrections.take_certain(start + LATE), [topic("b")]);
        assert_eq!(corrections.next_due(), None);
    }
}
