//! A circuit breaker that pauses requests to an API that does not answer. Pure.

use std::time::{Duration, Instant};

/// The number of consecutive failures that opens the breaker.
const FAILURES: u32 = 5;
/// The time for which the breaker stays open; then one request is tried.
const REST: Duration = Duration::from_secs(10);

/// The state of one circuit breaker, with no clock of its own.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// The instant until which no request may go out; then only one is tried.
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Returns `true` if a request may go out now.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.closed_until {
            Some(until) if now < until => false,
            Some(_) => {
                // The next request waits as long again, unless this one succeeds.
                self.closed_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// Records that the API answered, even with an error status, and closes the breaker.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Records that the API did not answer, or answered with a failure of its own.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.closed_until = Some(now + REST);
        }
    }

    /// Returns `true` if requests are blocked now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_then_allows_one_trial() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES {
            assert!(breaker.may_ask(start));
            breaker.failed(start);
        }
        assert!(breaker.may_ask(start) && !breaker.is_open(start));
        breaker.failed(start);
        assert!(!breaker.may_ask(start) && breaker.is_open(start));
        let later = start + REST;
        assert!(breaker.may_ask(later));
        assert!(!breaker.may_ask(later), "only one trial");
        breaker.failed(later);
        assert!(!breaker.may_ask(later + REST / 2));
        assert!(breaker.may_ask(later + REST));
        breaker.succeeded();
        assert!(breaker.may_ask(later) && !breaker.is_open(later));
    }

    #[test]
    fn only_consecutive_failures_open_the_breaker() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 1..FAILURES {
                breaker.failed(start);
            }
            breaker.succeeded();
        }
        assert!(breaker.may_ask(start));
    }
}
