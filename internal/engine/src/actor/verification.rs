//! Compares a few keys at each sweep: a stream's query against its verification query. If they
//! differ, the verification query replaces the query until the server ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{EngineActor, EngineEvent};
use crate::hint_source::HintSource;
use crate::verification_rotation::{RESULT_DIFFERENT, RESULT_FAILED, RESULT_SAME};
use latido_base::clock::monotonic_now;
use latido_base::ident::{Key, Topic};
use latido_protocol::Staleness;
use latido_stream::ReadError;
use latido_telemetry::RecentEventKind;

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
        let Some(key) = differing.first().map(Key::to_string) else {
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
                .record(RecentEventKind::Correction, "check", Some(&key));
            self.update_active_gauge();
            // Viewers may have received wrong numbers, so all keys are read again.
            self.shared
                .lock()
                .dirty
                .mark_all(Some(id), HintSource::Resync, monotonic_now());
        }
    }
}
