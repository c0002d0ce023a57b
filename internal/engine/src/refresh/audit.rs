//! Compares a few keys at each sweep: a stream's query against its verification query. If they
//! differ, the verification query replaces the query until the server ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, Refresh};
use crate::{ReadError, Source};
use latido_base::clock::monotonic_now;
use latido_base::ident::{Key, Topic};
use latido_protocol::Staleness;
use latido_telemetry::RecentEventKind;

/// The number of keys that are compared at a sweep. Each costs the plain read that the query is
/// meant to save.
const KEYS: usize = 4;

const SAME: &str = "same";
const DIFFERENT: &str = "different";
const FAILED: &str = "failed";
/// The results of a comparison, as metric labels.
pub const CHECK_RESULTS: [&str; 3] = [SAME, DIFFERENT, FAILED];

/// The rotation that gives every watched key its turn.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    last: Option<Topic>,
    /// True if a comparison is under way; only one runs at a time.
    running: bool,
    /// True if the last comparison failed and the failure was logged.
    failed: bool,
}

impl Rounds {
    /// Takes the next keys of one stream, in their order, and starts over after the last.
    fn take<'a, I: Iterator<Item = &'a Topic>>(&mut self, watched: impl Fn() -> I) -> Vec<Topic> {
        let mut topics = first(watched().filter(|topic| self.last.as_ref() < Some(*topic)));
        if topics.is_empty() {
            topics = first(watched());
        }
        let stream = topics.first().map(|topic| topic.stream);
        let taken: Vec<Topic> = topics
            .into_iter()
            .filter(|topic| Some(topic.stream) == stream)
            .cloned()
            .collect();
        self.last = taken.last().cloned();
        taken
    }
}

/// Returns the first [`KEYS_PER_SWEEP`] topics, without sorting the others.
fn first<'a>(topics: impl Iterator<Item = &'a Topic>) -> BTreeSet<&'a Topic> {
    let mut smallest = BTreeSet::new();
    for topic in topics {
        if smallest.len() < KEYS || smallest.last().is_some_and(|last| topic < *last) {
            smallest.insert(topic);
        }
        if smallest.len() > KEYS {
            smallest.pop_last();
        }
    }
    smallest
}

impl Refresh {
    /// Starts a comparison, unless one is under way or the database is away.
    pub(super) fn audit(&mut self) {
        self.count_standing_in();
        let open: BTreeSet<_> = self
            .parts
            .catalog
            .iter()
            .filter(|(_, s)| s.pending_verification().is_some())
            .map(|(id, _)| id)
            .collect();
        let away = self.outage.staleness(monotonic_now(), Duration::ZERO) != Staleness::Fresh;
        if open.is_empty() || away || self.rounds.running {
            return;
        }
        let topics = {
            let state = self.shared.lock();
            self.rounds.take(|| {
                state
                    .dirty
                    .watched()
                    .filter(|topic| open.contains(&topic.stream))
            })
        };
        let Some(stream) = topics
            .first()
            .map(|topic| Arc::clone(self.parts.catalog.get(topic.stream)))
        else {
            return;
        };
        self.rounds.running = true;
        let (now, reader) = (self.parts.clock.now(), Arc::clone(&self.parts.reader));
        // Both queries get the same date; whether it is the right one does not matter here.
        let todays: Vec<_> = topics
            .iter()
            .map(|topic| self.calendar.today(topic, now))
            .collect();
        self.running.push(Box::pin(async move {
            let keys: Vec<_> = topics.iter().map(|topic| topic.key.clone()).collect();
            let differing = reader.differences(&stream, &keys, &todays).await;
            Event::Audited(topics, differing)
        }));
    }

    /// Updates the gauge of active verification queries. It counts the streams anew, because one
    /// may also become active without the engine, when the database refuses the query.
    fn count_standing_in(&self) {
        let standing_in = self
            .parts
            .catalog
            .iter()
            .filter(|(_, s)| s.verification.is_some() && s.pending_verification().is_none())
            .count();
        self.metrics
            .active_verifications
            .set(i64::try_from(standing_in).unwrap_or(i64::MAX));
    }

    pub(super) fn audited(&mut self, topics: &[Topic], differing: Result<Vec<Key>, ReadError>) {
        self.rounds.running = false;
        let Some(id) = topics.first().map(|topic| topic.stream) else {
            return;
        };
        let stream = Arc::clone(self.parts.catalog.get(id));
        let differing = match differing {
            Ok(differing) => differing,
            Err(error) => {
                self.metrics.verifications.increment(FAILED);
                if !std::mem::replace(&mut self.rounds.failed, true) {
                    tracing::warn!(stream = stream.name, %error, "could not compare the stream with its check; it is tried again");
                }
                return;
            }
        };
        self.rounds.failed = false;
        let results = topics.iter().map(|topic| {
            if differing.contains(&topic.key) {
                DIFFERENT
            } else {
                SAME
            }
        });
        results.for_each(|result| self.metrics.verifications.increment(result));
        let Some(key) = differing.first().map(Key::as_str) else {
            return;
        };
        if stream.verification.as_ref().is_some_and(|check| check.activate()) {
            tracing::error!(
                stream = stream.name,
                key,
                "the query and its check differ: the stream is read with the check from now on"
            );
            self.metrics
                .recent_events
                .record(RecentEventKind::Correction, "check", Some(key));
            self.count_standing_in();
            // Viewers may have received wrong numbers, so all keys are read again.
            self.shared
                .lock()
                .dirty
                .mark_all(Some(id), Source::Resync, monotonic_now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_base::ident::StreamId;

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
        let mut rounds = Rounds::default();
        let mut next = |topics: &[Topic]| -> Vec<String> {
            rounds
                .take(|| topics.iter())
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
