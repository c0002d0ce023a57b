//! Publishes whether viewers' numbers may be old, because the database is away.

use crate::actor::EngineActor;
use latido_base::clock::monotonic_now;
use latido_protocol::Staleness;
use latido_telemetry::RecentEventKind;

impl EngineActor {
    pub(super) fn publish_staleness(&mut self) {
        let (now, after) = (monotonic_now(), self.deps.config.stale_after);
        let staleness = self.database_health.staleness(now, after);
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
}
