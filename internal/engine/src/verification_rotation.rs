//! The rotation in which verification queries examine the watched keys.

use std::collections::BTreeSet;

use latido_base::ident::Topic;

/// The number of keys that are compared at a sweep. Each costs the plain read that the query is
/// meant to save.
const KEYS_PER_SWEEP: usize = 4;

pub(super) const RESULT_SAME: &str = "same";

pub(super) const RESULT_DIFFERENT: &str = "different";

pub(super) const RESULT_FAILED: &str = "failed";

/// The results of a comparison, as metric labels.
pub(super) const VERIFICATION_RESULTS: [&str; 3] = [RESULT_SAME, RESULT_DIFFERENT, RESULT_FAILED];

/// The rotation that gives every watched key its turn.
#[derive(Debug, Default)]
pub(super) struct VerificationRotation {
    pub(super) last_topic: Option<Topic>,
    /// True if a comparison is under way; only one runs at a time.
    pub(super) is_running: bool,
    /// True if the last comparison failed and the failure was logged.
    pub(super) is_failing: bool,
}

impl VerificationRotation {
    /// Takes the next keys of one stream, in their order, and starts over after the last.
    pub(super) fn next_keys<'a, I: Iterator<Item = &'a Topic>>(
        &mut self,
        watched: impl Fn() -> I,
    ) -> Vec<Topic> {
        let mut topics =
            first_keys(watched().filter(|topic| self.last_topic.as_ref() < Some(*topic)));
        if topics.is_empty() {
            topics = first_keys(watched());
        }
        let stream = topics.first().map(|topic| topic.stream);
        let taken: Vec<Topic> = topics
            .into_iter()
            .filter(|topic| Some(topic.stream) == stream)
            .cloned()
            .collect();
        self.last_topic = taken.last().cloned();
        taken
    }
}

/// Returns the first [`KEYS_PER_SWEEP`] topics, without sorting the others.
fn first_keys<'a>(topics: impl Iterator<Item = &'a Topic>) -> BTreeSet<&'a Topic> {
    let mut smallest = BTreeSet::new();
    for topic in topics {
        if smallest.len() < KEYS_PER_SWEEP || smallest.last().is_some_and(|last| topic < *last) {
            smallest.insert(topic);
        }
        if smallest.len() > KEYS_PER_SWEEP {
            smallest.pop_last();
        }
    }
    smallest
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_base::ident::{Key, StreamId};

    fn topic(stream: u16, key: u32) -> Topic {
        Topic {
            stream: StreamId(stream),
            key: Key::from_canonical(&format!("{key:03}")),
        }
    }

    #[test]
    fn every_key_is_verified_in_turn() {
        let mut topics: Vec<_> = (0..10)
            .map(|n| topic(0, n))
            .chain((0..3).map(|n| topic(1, n)))
            .collect();
        topics.reverse();
        let mut rounds = VerificationRotation::default();
        let mut next = |topics: &[Topic]| -> Vec<String> {
            rounds
                .next_keys(|| topics.iter())
                .iter()
                .map(|t| format!("{}{}", t.stream.0, t.key.as_str()))
                .collect()
        };
        assert_eq!(next(&topics), ["0000", "0001", "0002", "0003"]);
        assert_eq!(next(&topics), ["0004", "0005", "0006", "0007"]);
        assert_eq!(next(&topics), ["0008", "0009"], "of one stream");
        assert_eq!(next(&topics), ["1000", "1001", "1002"]);
        assert_eq!(
            next(&topics),
            ["0000", "0001", "0002", "0003"],
            "from the beginning"
        );
        topics.retain(|t| t.stream.0 == 1);
        assert_eq!(next(&topics), ["1000", "1001", "1002"]);
        assert!(next(&[]).is_empty());
        assert_eq!(
            next(&topics),
            ["1000", "1001", "1002"],
            "after a round without viewers"
        );
    }
}
