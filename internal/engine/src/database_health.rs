//! The health of the database: whether it responds, and the time of the next attempt if it does
//! not.

use std::time::{Duration, Instant};

use latido_base::backoff::{BackoffRange, Jitter};
use latido_protocol::Staleness;

/// The pauses after failures. The longest one bounds the delay until a recovery is noticed.
const PAUSES: BackoffRange = BackoffRange::new(Duration::from_millis(50), Duration::from_secs(2));

/// The state of an outage. Pure except for the jitter.
#[derive(Debug, Default)]
pub(super) struct DatabaseHealth {
    /// The start of the first failed read since the last success: an instant for durations, and
    /// Unix seconds for display.
    failing_since: Option<(Instant, i64)>,
    failures: u32,
    next_attempt: Option<Instant>,
}

impl DatabaseHealth {
    /// Records a read that was started at `started` and got no response.
    pub(super) fn record_failure(&mut self, started: Instant, now: Instant, unix_s: i64) {
        let elapsed =
            i64::try_from(now.saturating_duration_since(started).as_secs()).unwrap_or_default();
        self.failing_since
            .get_or_insert((started, unix_s - elapsed));
        let pause = PAUSES.pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.next_attempt = Some(now + Jitter::HALF.apply(pause, fastrand::f64()));
    }

    /// Records a response of the database and ends the outage.
    pub(super) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Returns the time until which reads must wait, or `None` if they may start now.
    pub(super) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.next_attempt.filter(|at| *at > now)
    }

    /// Returns the staleness to publish. Outages shorter than `stale_after` count as fresh.
    pub(super) fn staleness(&self, now: Instant, stale_after: Duration) -> Staleness {
        match self.failing_since {
            Some((since, unix_s)) if now.saturating_duration_since(since) >= stale_after => {
                Staleness::StaleSince(unix_s)
            }
            _ => Staleness::Fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lasting_outages_are_published() {
        let start = Instant::now();
        let after = Duration::from_secs(1);
        let mut health = DatabaseHealth::default();
        health.record_failure(start, start, 1_000);
        assert!(health.retry_at(start).is_some());
        assert_eq!(health.staleness(start, after), Staleness::Fresh);
        let later = start + Duration::from_secs(3);
        health.record_failure(later, later, 1_003);
        assert_eq!(health.staleness(later, after), Staleness::StaleSince(1_000));
        health.record_success();
        assert_eq!(health.staleness(later, after), Staleness::Fresh);
        assert_eq!(health.retry_at(start), None);
    }
}
