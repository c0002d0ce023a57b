//! A token bucket: a burst of requests at once, then a steady rate.
//!
//! Pure: the time is an argument, as the time since an origin that the caller chooses once. A
//! bucket earns tokens with the time that passes, up to its burst:
//!
//! `tokens(now) = min(burst, tokens(before) + per_second × (now − before))`

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The rate and the capacity of a bucket. Kept apart from [`TokenBucket`], so that thousands of
/// buckets share one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenRate {
    per_second: f64,
    burst: f64,
}

impl TokenRate {
    /// Creates a rate in tokens per second, with the largest number of tokens that a bucket holds.
    /// With a burst of 0 no token can ever be taken.
    pub fn per_second(tokens: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(tokens),
            burst: f64::from(burst),
        }
    }

    /// Creates a rate in tokens per hour. The bucket holds one hour's tokens.
    pub fn per_hour(tokens: u32) -> Self {
        Self::per_hour_in_bursts(tokens, tokens)
    }

    /// Creates a rate in tokens per hour, with the largest number of tokens that a bucket holds.
    pub fn per_hour_in_bursts(tokens: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(tokens) / 3600.0,
            burst: f64::from(burst.min(tokens)),
        }
    }

    /// Returns the tokens of a bucket that had `tokens` before `elapsed` passed; see the module's
    /// formula.
    pub fn refill(self, tokens: f64, elapsed: Duration) -> f64 {
        (tokens + elapsed.as_secs_f64() * self.per_second).min(self.burst)
    }
}

/// The state of one bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenBucket {
    tokens: f64,
    /// The time that `tokens` was computed for.
    refilled_at: Duration,
}

impl TokenBucket {
    /// Creates a full bucket.
    pub fn full(rate: TokenRate, now: Duration) -> Self {
        Self {
            tokens: rate.burst,
            refilled_at: now,
        }
    }

    /// Takes one token. Returns `false` if none is left.
    ///
    /// A failed attempt leaves the bucket unchanged, so that rounding errors do not add up. A clock
    /// that goes backwards earns nothing.
    pub fn try_take(&mut self, rate: TokenRate, now: Duration) -> bool {
        let tokens = self.tokens_at(rate, now);
        if tokens < 1.0 {
            return false;
        }
        self.tokens = tokens - 1.0;
        self.refilled_at = self.refilled_at.max(now);
        true
    }

    /// Returns the time until a token is available: zero only if there is one, and
    /// [`Duration::MAX`] if the bucket earns none.
    pub fn next_token_in(&self, rate: TokenRate, now: Duration) -> Duration {
        let missing = (1.0 - self.tokens_at(rate, now)).max(0.0);
        if missing == 0.0 {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64(missing / rate.per_second);
        wait.unwrap_or(Duration::MAX).max(Duration::from_nanos(1))
    }

    /// Returns whether the bucket holds its whole burst, as a new one would.
    pub fn is_full(&self, rate: TokenRate, now: Duration) -> bool {
        self.tokens_at(rate, now) >= rate.burst
    }

    fn tokens_at(&self, rate: TokenRate, now: Duration) -> f64 {
        rate.refill(self.tokens, now.saturating_sub(self.refilled_at))
    }
}

/// A rate limit that many threads share, in monotonic time.
#[derive(Debug)]
pub struct SharedTokenBucket {
    rate: TokenRate,
    origin: Instant,
    /// Locked only for a few additions.
    bucket: Mutex<TokenBucket>,
}

impl SharedTokenBucket {
    /// Creates a full bucket. A burst of 0 counts as 1.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let rate = TokenRate::per_second(per_second, burst.max(1));
        Self {
            rate,
            origin: now,
            bucket: Mutex::new(TokenBucket::full(rate, Duration::ZERO)),
        }
    }

    /// Takes one token. Returns `false` if none is left.
    pub fn try_take(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.origin);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.try_take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn burst_is_followed_by_the_average_rate() {
        let start = Instant::now();
        let bucket = SharedTokenBucket::new(10, 3, start);
        let at = |ms| bucket.try_take(start + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(50), at(100), at(100)], [false, true, false]);
        assert_eq!(
            [at(99), at(5_000), at(5_000), at(5_000), at(5_000)],
            [false, true, true, true, false]
        );
    }

    #[test]
    fn hourly_allowance_refills_evenly() {
        let (rate, at) = (TokenRate::per_hour(60), Duration::from_secs);
        let mut bucket = TokenBucket::full(rate, at(100));
        assert!((0..60).all(|_| bucket.try_take(rate, at(100))));
        for (now_s, wait_s) in [(100, 60), (130, 30), (90, 60)] {
            assert!(!bucket.try_take(rate, at(now_s)));
            assert_eq!(bucket.next_token_in(rate, at(now_s)), at(wait_s));
        }
        assert!(bucket.try_take(rate, at(160)) && !bucket.try_take(rate, at(160)));
        assert!(!bucket.is_full(rate, at(3_600)) && bucket.is_full(rate, at(3_760)));
    }

    #[test]
    fn bucket_without_a_burst_or_a_rate_earns_nothing() {
        let hour = Duration::from_secs(3_600);
        let none = TokenRate::per_hour(0);
        let mut bucket = TokenBucket::full(none, Duration::ZERO);
        assert!(!bucket.try_take(none, hour));
        assert_eq!(bucket.next_token_in(none, hour), Duration::MAX);
        let once = TokenRate::per_second(0, 1);
        let mut bucket = TokenBucket::full(once, Duration::ZERO);
        assert!(bucket.try_take(once, Duration::ZERO) && !bucket.try_take(once, hour));
    }

    proptest! {
        /// In any period, at most the burst and the tokens earned in that period are taken. No wait
        /// is promised exactly when a token can be taken.
        #[test]
        fn taken_tokens_never_exceed_the_burst_and_the_rate(
            per_second in 0_u32..50,
            burst in 0_u32..20,
            steps_ms in proptest::collection::vec(0_u64..500, 1..200),
        ) {
            let rate = TokenRate::per_second(per_second, burst);
            let mut bucket = TokenBucket::full(rate, Duration::ZERO);
            let (mut now_ms, mut taken) = (0, 0_u32);
            for step_ms in steps_ms {
                now_ms += step_ms;
                let now = Duration::from_millis(now_ms);
                let wait = bucket.next_token_in(rate, now);
                let is_taken = bucket.try_take(rate, now);
                prop_assert_eq!(is_taken, wait.is_zero());
                taken += u32::from(is_taken);
                let earned = now.as_secs_f64() * f64::from(per_second);
                prop_assert!(f64::from(taken) <= f64::from(burst) + earned + 1e-6);
            }
        }

        /// A token is available after the promised time, and not clearly before it.
        #[test]
        fn wait_for_the_next_token_is_exact(
            per_second in 1_u32..1000,
            burst in 1_u32..20,
            start_ms in 0_u64..10_000,
        ) {
            let rate = TokenRate::per_second(per_second, burst);
            let start = Duration::from_millis(start_ms);
            let mut bucket = TokenBucket::full(rate, start);
            while bucket.try_take(rate, start) {}
            let wait = bucket.next_token_in(rate, start);
            let margin = Duration::from_micros(1);
            prop_assert!(!bucket.clone().try_take(rate, start + wait.saturating_sub(margin)));
            prop_assert!(bucket.try_take(rate, start + wait + margin));
        }
    }
}
