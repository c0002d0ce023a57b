//! A token bucket: a burst of requests, then a steady rate per second.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A rate limit shared by all requests of one kind.
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_second: f64,
    burst: f64,
    /// The level and the time it was computed for. Locked only for a few additions.
    level: Mutex<(f64, Instant)>,
}

impl TokenBucket {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            per_second: per_second.into(),
            burst,
            level: Mutex::new((burst, now)),
        }
    }

    /// Takes one token. Returns `false` if none is left.
    pub(super) fn try_take(&self, now: Instant) -> bool {
        let mut state = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, since) = *state;
        let earned = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        let level = (level + earned).min(self.burst);
        let is_taken = level >= 1.0;
        *state = (if is_taken { level - 1.0 } else { level }, now.max(since));
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn burst_is_followed_by_the_average_rate() {
        let start = Instant::now();
        let bucket = TokenBucket::new(10, 3, start);
        let at = |ms| bucket.try_take(start + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(50), at(100), at(100)], [false, true, false]);
        assert_eq!(
            [at(99), at(5_000), at(5_000), at(5_000), at(5_000)],
            [false, true, true, true, false]
        );
    }
}
