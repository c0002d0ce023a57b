//! A few keys at each sweep: does a stream's query still say what its check says? If not, the check stands in for it until the server ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, Refresh};
use crate::clock::instant;
use crate::engine::{ReadError, Source};
use crate::ident::{Key, Topic};
use crate::protocol::Staleness;
use crate::telemetry::Kind;

/// Keys that are compared at a sweep. Each costs the plain read that the query is there to save.
const KEYS: usize = 4;

const SAME: &str = "same";
const DIFFERENT: &str = "different";
const FAILED: &str = "failed";
/// How a comparison ends: metric labels.
pub(in crate::engine) const CHECK_RESULTS: [&str; 3] = [SAME, DIFFERENT, FAILED];

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    last: Option<Topic>,
    /// One comparison at a time.
    running: bool,
    /// The last one failed, and that was said.
    failed: bool,
}

impl Rounds {
    /// The next keys of one stream, in their order, and from the beginning after the last.
    fn take<'a, I: Iterator<Item = &'a Topic>>(&mut self, watched: impl Fn() -> I) -> Vec<Topic> {
        let mut few = first(watched().filter(|topic| self.last.as_ref() < Some(*topic)));
        if few.is_empty() {
            few = first(watched());
        }
        let stream = few.first().map(|topic| topic.stream);
        let taken: Vec<Topic> = few
            .into_iter()
            .filter(|topic| Some(topic.stream) == stream)
            .cloned()
            .collect();
        self.last = taken.last().cloned();
        taken
    }
}

/// The first [`KEYS`], without sorting the rest.
fn first<'a>(topics: impl Iterator<Item = &'a Topic>) -> BTreeSet<&'a Topic> {
    let mut few = BTreeSet::new();
    for topic in topics {
        if few.len() < KEYS || few.last().is_some_and(|last| topic < *last) {
            few.insert(topic);
        }
        if few.len() > KEYS {
            few.pop_last();
        }
    }
    few
}

impl Refresh {
    /// Starts a comparison, unless one is under way, or the database away.
    pub(super) fn audit(&mut self) {
        self.count_standing_in();
        let open: BTreeSet<_> = self
            .parts
            .catalog
            .iter()
            .filter(|(_, s)| s.open_check().is_some())
            .map(|(id, _)| id)
            .collect();
        let away = self.outage.staleness(instant(), Duration::ZERO) != Staleness::Fresh;
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
        // Both queries are told the same day; whether it is the right one does not matter here.
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

    /// Also of checks that took over when the database refused the query: nobody told the engine of them.
    fn count_standing_in(&self) {
        let standing_in = self
            .parts
            .catalog
            .iter()
            .filter(|(_, s)| s.check.is_some() && s.open_check().is_none())
            .count();
        self.metrics
            .checks_standing_in
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
                self.metrics.checks.add(FAILED);
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
        results.for_each(|result| self.metrics.checks.add(result));
        let Some(key) = differing.first().map(Key::as_str) else {
            return;
        };
        if stream.check.as_ref().is_some_and(|check| check.stand_in()) {
            tracing::error!(
                stream = stream.name,
                key,
                "the query and its check differ: the stream is read with the check from now on"
            );
            self.metrics
                .journal
                .note(Kind::Correction, "check", Some(key));
            self.count_standing_in();
            // What viewers were shown may be wrong.
            self.shared
                .lock()
                .dirty
                .mark_all(Some(id), Source::Resync, instant());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::StreamId;

    fn topic(stream: u16, key: u32) -> Topic {
        Topic {
            stream: StreamId(stream),
            key: Key::from_canonical(&format!("{key:03}")),
        }
    }

    #[test]
    fn every_key_has_its_turn() {
        let mut topics: Vec<_> = (0..10)
            .map(|n| topic(0, n))
            .chain((0..3).map(|n| topic(1, n)))
            .collect();
        topics.reverse();
        let mut rounds = Rounds::default();
        let mut turn = |topics: &[Topic]| -> Vec<String> {
            rounds
                .take(|| topics.iter())
                .iter()
                .map(|t| format!("{}{}", t.stream.0, t.key.as_str()))
                .collect()
        };
        assert_eq!(turn(&topics), ["0000", "0001", "0002", "0003"]);
        assert_eq!(turn(&topics), ["0004", "0005", "0006", "0007"]);
        assert_eq!(turn(&topics), ["0008", "0009"], "of one stream");
        assert_eq!(turn(&topics), ["1000", "1001", "1002"]);
        assert_eq!(
            turn(&topics),
            ["0000", "0001", "0002", "0003"],
            "from the beginning"
        );
        topics.retain(|t| t.stream.0 == 1);
        assert_eq!(turn(&topics), ["1000", "1001", "1002"]);
        assert!(turn(&[]).is_empty());
        assert_eq!(
            turn(&topics),
            ["1000", "1001", "1002"],
            "after nobody was there"
        );
    }
}
