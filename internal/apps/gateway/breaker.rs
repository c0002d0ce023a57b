//! When to leave an API alone that does not answer. Pure.

use std::time::{Duration, Instant};

/// Failures in a row until it is left alone.
const FAILURES: u32 = 5;
/// For so long; then one request tries.
const REST: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Nobody asks before; whoever does then, asks alone.
    closed_until: Option<Instant>,
}

impl Breaker {
    /// Whether a request may go out now.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.closed_until {
            Some(until) if now < until => false,
            Some(_) => {
                // The next one waits as long again, unless this one succeeds.
                self.closed_until = Some(now + REST);
                true
            }
            None => true,
        }
    }

    /// It answered, whatever it said.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not, or it said that it can't.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.closed_until = Some(now + REST);
        }
    }

    /// Whether requests are held back now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_failures_it_rests_and_then_one_tries() {
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
        assert!(!breaker.may_ask(later), "only one tries");
        breaker.failed(later);
        assert!(!breaker.may_ask(later + REST / 2));
        assert!(breaker.may_ask(later + REST));
        breaker.succeeded();
        assert!(breaker.may_ask(later) && !breaker.is_open(later));
    }

    #[test]
    fn only_failures_in_a_row_count() {
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
