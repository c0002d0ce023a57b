//! A circuit breaker that pauses requests to an API that does not answer. Pure.

use std::time::{Duration, Instant};

/// The number of consecutive failures that opens the breaker.
const MAX_FAILURES: u32 = 5;
/// The time for which the breaker stays open; then one request is tried.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// The state of one circuit breaker, with no clock of its own.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker {
    failures: u32,
    /// The instant until which no request may go out; then only one is tried.
    open_until: Option<Instant>,
}

impl CircuitBreaker {
    /// Returns `true` if a request may go out now.
    pub(super) fn try_acquire(&mut self, now: Instant) -> bool {
        match self.open_until {
            Some(until) if now < until => false,
            Some(_) => {
                // The next request waits as long again, unless this one succeeds.
                self.open_until = Some(now + OPEN_TIME);
                true
            }
            None => true,
        }
    }

    /// Records that the API answered, even with an error status, and closes the breaker.
    pub(super) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Records that the API did not answer, or answered with a failure of its own.
    pub(super) fn record_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MAX_FAILURES {
            self.open_until = Some(now + OPEN_TIME);
        }
    }

    /// Returns `true` if requests are blocked now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.open_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_then_allows_one_trial() {
        let (mut breaker, start) = (CircuitBreaker::default(), Instant::now());
        for _ in 1..MAX_FAILURES {
            assert!(breaker.try_acquire(start));
            breaker.record_failure(start);
        }
        assert!(breaker.try_acquire(start) && !breaker.is_open(start));
        breaker.record_failure(start);
        assert!(!breaker.try_acquire(start) && breaker.is_open(start));
        let later = start + OPEN_TIME;
        assert!(breaker.try_acquire(later));
        assert!(!breaker.try_acquire(later), "only one trial");
        breaker.record_failure(later);
        assert!(!breaker.try_acquire(later + OPEN_TIME / 2));
        assert!(breaker.try_acquire(later + OPEN_TIME));
        breaker.record_success();
        assert!(breaker.try_acquire(later) && !breaker.is_open(later));
    }

    #[test]
    fn only_consecutive_failures_open_the_breaker() {
        let (mut breaker, start) = (CircuitBreaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..MAX_FAILURES {
                breaker.record_failure(start);
            }
            breaker.record_success();
        }
        assert!(breaker.try_acquire(start));
    }
}
