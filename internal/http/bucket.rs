//! A token bucket: so many at once, then so many a second.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Shared by all callers of one address.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    /// Level, and when it was that. Held for a few additions.
    state: Mutex<(f64, Instant)>,
}

impl Bucket {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            per_second: per_second.into(),
            burst,
            state: Mutex::new((burst, now)),
        }
    }

    /// Takes one; false if none is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, since) = *state;
        let earned = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
        let level = (level + earned).min(self.burst);
        let taken = level >= 1.0;
        *state = (if taken { level - 1.0 } else { level }, now.max(since));
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_average() {
        let start = Instant::now();
        let bucket = Bucket::new(10, 3, start);
        let at = |ms| bucket.take(start + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(50), at(100), at(100)], [false, true, false]);
        assert_eq!(
            [at(99), at(5_000), at(5_000), at(5_000), at(5_000)],
            [false, true, true, true, false]
        );
    }
}
