//! Whether viewers must know that their numbers may be old.

use super::Refresh;
use crate::clock::instant;
use crate::ident::StreamId;
use crate::protocol::Staleness;
use crate::telemetry::Kind;

impl Refresh {
    pub(super) fn tell_staleness(&mut self) {
        self.forget_ailing_that_nobody_watches();
        let (now, after) = (instant(), self.parts.config.stale_after);
        let ailing = self
            .ailing
            .iter()
            .filter_map(|ailing| ailing.since_s(now, after))
            .min();
        let staleness = match self.outage.staleness(now, after) {
            Staleness::Fresh => ailing.map_or(Staleness::Fresh, Staleness::StaleSince),
            stale @ Staleness::StaleSince(_) => stale,
        };
        if staleness != self.staleness {
            let stale = staleness != Staleness::Fresh;
            tracing::warn!(stale, "viewers are told whether numbers may be old");
            self.metrics.stale.set(i64::from(stale));
            self.metrics
                .journal
                .note(Kind::Staleness, if stale { "stale" } else { "fresh" }, None);
            self.staleness = staleness;
            self.parts.hub.set_staleness(staleness);
        }
    }

    fn forget_ailing_that_nobody_watches(&mut self) {
        for (stream, ailing) in (0..).map(StreamId).zip(&mut self.ailing) {
            if ailing.has_failed()
                && self
                    .shared
                    .lock()
                    .dirty
                    .watched()
                    .all(|topic| topic.stream != stream)
            {
                ailing.over();
            }
        }
    }
}
