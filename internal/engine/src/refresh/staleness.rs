//! Publishes whether viewers' numbers may be old.

use super::Refresh;
use latido_base::clock::monotonic_now;
use latido_base::ident::StreamId;
use latido_protocol::Staleness;
use latido_telemetry::RecentEventKind;

impl Refresh {
    pub(super) fn tell_staleness(&mut self) {
        self.forget_ailing_that_nobody_watches();
        let (now, after) = (monotonic_now(), self.parts.config.stale_after);
        let unhealthy = self
            .ailing
            .iter()
            .filter_map(|health| health.since_s(now, after))
            .min();
        let staleness = match self.outage.staleness(now, after) {
            Staleness::Fresh => unhealthy.map_or(Staleness::Fresh, Staleness::StaleSince),
            stale @ Staleness::StaleSince(_) => stale,
        };
        if staleness != self.staleness {
            let stale = staleness != Staleness::Fresh;
            tracing::warn!(stale, "viewers are notified whether numbers may be old");
            self.metrics.stale.set(i64::from(stale));
            self.metrics
                .recent_events
                .record(RecentEventKind::Staleness, if stale { "stale" } else { "fresh" }, None);
            self.staleness = staleness;
            self.parts.hub.set_staleness(staleness);
        }
    }

    fn forget_ailing_that_nobody_watches(&mut self) {
        for (stream, health) in (0..).map(StreamId).zip(&mut self.ailing) {
            if health.has_failed()
                && self
                    .shared
                    .lock()
                    .dirty
                    .watched()
                    .all(|topic| topic.stream != stream)
            {
                health.over();
            }
        }
    }
}
