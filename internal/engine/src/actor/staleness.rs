//! Publishes whether viewers' numbers may be old.

use crate::actor::EngineActor;
use latido_base::clock::monotonic_now;
use latido_base::ident::StreamId;
use latido_protocol::Staleness;
use latido_telemetry::RecentEventKind;

impl EngineActor {
    pub(super) fn publish_staleness(&mut self) {
        self.reset_unwatched_health();
        let (now, after) = (monotonic_now(), self.deps.config.stale_after);
        let unhealthy = self
            .stream_health
            .iter()
            .filter_map(|health| health.unhealthy_since_s(now, after))
            .min();
        let staleness = match self.database_health.staleness(now, after) {
            Staleness::Fresh => unhealthy.map_or(Staleness::Fresh, Staleness::StaleSince),
            stale @ Staleness::StaleSince(_) => stale,
        };
        if staleness != self.staleness {
            let stale = staleness != Staleness::Fresh;
            tracing::warn!(stale, "viewers are notified whether numbers may be old");
            self.metrics.stale.set(i64::from(stale));
            self.metrics.recent_events.record(
                RecentEventKind::Staleness,
                if stale { "stale" } else { "fresh" },
                None,
            );
            self.staleness = staleness;
            self.deps.hub.set_staleness(staleness);
        }
    }

    fn reset_unwatched_health(&mut self) {
        for (stream, health) in (0..).map(StreamId).zip(&mut self.stream_health) {
            if health.has_failed()
                && self
                    .shared
                    .lock()
                    .dirty
                    .watched_topics()
                    .all(|topic| topic.stream != stream)
            {
                health.record_success();
            }
        }
    }
}
