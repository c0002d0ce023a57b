//! Whether the database answers, and when it is asked again if it does not.

use std::time::{Duration, Instant};

use crate::protocol::Staleness;

/// First pause after a failure; doubled up to [`LONGEST`], with jitter.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause: the most that recovery is noticed late.
const LONGEST: Duration = Duration::from_secs(2);

/// Pure but for the jitter.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// When the first read failed since the last that did not: for durations, and Unix seconds for people.
    since: Option<(Instant, i64)>,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Outage {
    /// A read that was started at `started` got no answer.
    pub(super) fn failed(&mut self, started: Instant, now: Instant, unix_s: i64) {
        let elapsed =
            i64::try_from(now.saturating_duration_since(started).as_secs()).unwrap_or_default();
        self.since.get_or_insert((started, unix_s - elapsed));
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + pause.mul_f64(0.5 + fastrand::f64() / 2.0));
    }

    /// The database answered.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// Whether reads must wait, and until when.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        self.retry_at.filter(|at| *at > now)
    }

    /// What viewers should know.
    pub(super) fn staleness(&self, now: Instant, stale_after: Duration) -> Staleness {
        match self.since {
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
    fn viewers_are_told_only_of_what_lasts() {
        let start = Instant::now();
        let after = Duration::from_secs(1);
        let mut outage = Outage::default();
        outage.failed(start, start, 1_000);
        assert!(outage.pause(start).is_some());
        assert_eq!(outage.staleness(start, after), Staleness::Fresh);
        let later = start + Duration::from_secs(3);
        outage.failed(later, later, 1_003);
        assert_eq!(outage.staleness(later, after), Staleness::StaleSince(1_000));
        outage.over();
        assert_eq!(outage.staleness(later, after), Staleness::Fresh);
        assert_eq!(outage.pause(start), None);
    }
}
