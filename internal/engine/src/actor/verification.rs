//! Compares a few keys at each sweep: a stream's query against its verification query. If they
//! differ, the verification query replaces the query until the server ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{EngineActor, EngineEvent};
use crate::{HintSource, ReadError};
use latido_base::clock::monotonic_now;
use latido_base::ident::{Key, Topic};
use latido_protocol::Staleness;
use latido_telemetry::RecentEventKind;

/// The number of keys that are compared at a sweep. Each costs the plain read that the query is
/// meant to save.
const KEYS_PER_SWEEP: usize = 4;

const RESULT_SAME: &str = "same";
const RESULT_DIFFERENT: &str = "different";
const RESULT_FAILED: &str = "failed";
/// The results of a comparison, as metric labels.
pub const VERIFICATION_RESULTS: [&str; 3] = [RESULT_SAME, RESULT_DIFFERENT, RESULT_FAILED];

/// The rotation that gives every watched key its turn.
#[derive(Debug, Default)]
pub(super) struct VerificationRotation {
    last_topic: Option<Topic>,
    /// True if a comparison is under way; only one runs at a time.
    is_running: bool,
    /// True if the last comparison failed and the failure was logged.
    is_failing: bool,
}

impl VerificationRotation {
    /// Takes the next keys of one stream, in their order, and starts over after the last.
    fn next_keys<'a, I: Iterator<Item = &'a Topic>>(
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

impl EngineActor {
    /// Starts a comparison, unless one is under way or the database is away.
    pub(super) fn start_verification(&mut self) {
        self.update_active_gauge();
        let open: BTreeSet<_> = self
            .deps
            .catalog
            .iter()
            .filter(|(_, s)| s.pending_verification().is_some())
            .map(|(id, _)| id)
            .collect();
        let away = self
            .database_health
            .staleness(monotonic_now(), Duration::ZERO)
            != Staleness::Fresh;
        if open.is_empty() || away || self.verification.is_running {
            return;
        }
        let topics = {
            let state = self.shared.lock();
            self.verification.next_keys(|| {
                state
                    .dirty
                    .watched_topics()
                    .filter(|topic| open.contains(&topic.stream))
            })
        };
        let Some(stream) = topics
            .first()
            .map(|topic| Arc::clone(self.deps.catalog.get(topic.stream)))
        else {
            return;
        };
        self.verification.is_running = true;
        let (now, reader) = (self.deps.clock.now(), Arc::clone(&self.deps.reader));
        // Both queries get the same date; whether it is the right one does not matter here.
        let todays: Vec<_> = topics
            .iter()
            .map(|topic| self.calendar.today(topic, now))
            .collect();
        self.statements.push(Box::pin(async move {
            let keys: Vec<_> = topics.iter().map(|topic| topic.key.clone()).collect();
            let differing = reader.mismatched_keys(&stream, &keys, &todays).await;
            EngineEvent::Verified(topics, differing)
        }));
    }

    /// Updates the gauge of active verification queries. It counts the streams anew, because one
    /// may also become active without the engine, when the database refuses the query.
    fn update_active_gauge(&self) {
        let standing_in = self
            .deps
            .catalog
            .iter()
            .filter(|(_, s)| s.verification.is_some() && s.pending_verification().is_none())
            .count();
        self.metrics
            .active_verifications
            .set(i64::try_from(standing_in).unwrap_or(i64::MAX));
    }

    pub(super) fn on_verified(&mut self, topics: &[Topic], differing: Result<Vec<Key>, ReadError>) {
        self.verification.is_running = false;
        let Some(id) = topics.first().map(|topic| topic.stream) else {
            return;
        };
        let stream = Arc::clone(self.deps.catalog.get(id));
        let differing = match differing {
            Ok(differing) => differing,
            Err(error) => {
                self.metrics.verifications.increment(RESULT_FAILED);
                if !std::mem::replace(&mut self.verification.is_failing, true) {
                    tracing::warn!(stream = stream.name, %error, "could not compare the stream with its check; it is tried again");
                }
                return;
            }
        };
        self.verification.is_failing = false;
        let results = topics.iter().map(|topic| {
            if differing.contains(&topic.key) {
                RESULT_DIFFERENT
            } else {
                RESULT_SAME
            }
        });
        results.for_each(|result| self.metrics.verifications.increment(result));
        let Some(key) = differing.first().map(Key::as_str) else {
            return;
        };
        if stream
            .verification
            .as_ref()
            .is_some_and(|check| check.activate())
        {
            tracing::error!(
                stream = stream.name,
                key,
                "the query and its check differ: the stream is read with the check from now on"
            );
            self.metrics
                .recent_events
                .record(RecentEventKind::Correction, "check", Some(key));
            self.update_active_gauge();
            // Viewers may have received wrong numbers, so all keys are read again.
            self.shared
                .lock()
                .dirty
                .mark_all(Some(id), HintSource::Resync, monotonic_now());
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
