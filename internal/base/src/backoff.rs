//! Growing pauses between attempts that fail.
//!
//! Pure: no clock and no random source. The pause before attempt `n` (from 0) is
//!
//! `pause(n) = min(longest, first × 2ⁿ)`
//!
//! and [`Jitter`] multiplies it by a random factor, so that many clients of one failed server do
//! not all come back at the same moment.

use std::time::Duration;

/// The first and the longest pause. Each pause is twice the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackoffRange {
    first: Duration,
    longest: Duration,
}

impl BackoffRange {
    /// Creates a range from its first and its longest pause.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the pause after `failures` earlier failures in a row; see the module's formula.
    pub fn pause_after(self, failures: u32) -> Duration {
        self.first
            .saturating_mul(1 << failures.min(31))
            .min(self.longest)
    }
}

/// The pauses of one retry loop: a range, and the failures since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    range: BackoffRange,
    failures: u32,
}

impl Backoff {
    /// Creates a back-off without failures.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            range: BackoffRange::new(first, longest),
            failures: 0,
        }
    }

    /// Counts a failure and returns the pause before the next attempt, without jitter.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.range.pause_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Forgets the failures, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Returns whether an attempt failed since the last success.
    pub fn has_failed(&self) -> bool {
        self.failures > 0
    }
}

/// A range of random factors for a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    lowest: f64,
    highest: f64,
}

impl Jitter {
    /// Factors from 0 to 1, for clients that reconnect.
    pub const FULL: Self = Self::new(0.0, 1.0);
    /// Factors from 0.5 to 1, for servers that reconnect.
    pub const HALF: Self = Self::new(0.5, 1.0);
    /// Factors from 0.5 to 1.5, which keep the average of an interval.
    pub const AROUND: Self = Self::new(0.5, 1.5);
    /// Factors from 0.9 to 1.1, for long intervals.
    pub const SLIGHT: Self = Self::new(0.9, 1.1);
    /// Factors from 0.9 to 1, for intervals that must not get longer.
    pub const SHORTEN: Self = Self::new(0.9, 1.0);

    const fn new(lowest: f64, highest: f64) -> Self {
        Self { lowest, highest }
    }

    /// Returns `pause` times `lowest + (highest − lowest) × random`. Values of `random` outside 0
    /// to 1 count as the nearer of the two.
    pub fn apply(self, pause: Duration, random: f64) -> Duration {
        let factor = self.lowest + (self.highest - self.lowest) * random.clamp(0.0, 1.0);
        pause.mul_f64(factor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let range = BackoffRange::new(Duration::from_millis(500), Duration::from_secs(30));
        assert_eq!(
            [0, 1, 2, 3].map(|failures| range.pause_after(failures)),
            [500, 1_000, 2_000, 4_000].map(Duration::from_millis)
        );
        assert_eq!(
            [6, 40, u32::MAX].map(|failures| range.pause_after(failures)),
            [Duration::from_secs(30); 3]
        );
    }

    #[test]
    fn success_starts_the_pauses_again() {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        assert!(!backoff.has_failed());
        let pauses: Vec<_> = (0..100).map(|_| backoff.next_pause()).collect();
        assert_eq!(
            (pauses[0], pauses[99]),
            (Duration::from_millis(20), Duration::from_secs(1))
        );
        assert!(backoff.has_failed());
        backoff.reset();
        assert!(!backoff.has_failed());
        assert_eq!(backoff.next_pause(), Duration::from_millis(20));
    }

    #[test]
    fn jitter_covers_its_range() {
        let pause = Duration::from_secs(10);
        for (jitter, lowest_s, highest_s) in [
            (Jitter::FULL, 0, 10),
            (Jitter::HALF, 5, 10),
            (Jitter::AROUND, 5, 15),
            (Jitter::SLIGHT, 9, 11),
            (Jitter::SHORTEN, 9, 10),
        ] {
            assert_eq!(jitter.apply(pause, 0.0), Duration::from_secs(lowest_s));
            assert_eq!(jitter.apply(pause, 1.0), Duration::from_secs(highest_s));
        }
    }

    proptest! {
        #[test]
        fn pauses_never_shrink_and_stay_in_range(
            first_ms in 1_u64..10_000, longest_ms in 1_u64..1_000_000, failures in 0_u32..100,
        ) {
            let longest = Duration::from_millis(longest_ms);
            let range = BackoffRange::new(Duration::from_millis(first_ms), longest);
            let pause = range.pause_after(failures);
            prop_assert!(pause <= longest && pause <= range.pause_after(failures + 1));
            prop_assert!(pause >= Duration::from_millis(first_ms.min(longest_ms)));
            prop_assert_eq!(range.pause_after(31), longest);
        }

        #[test]
        fn jitter_stays_in_its_range(pause_ms in 0_u64..1_000_000, random in -1.0_f64..2.0) {
            let pause = Duration::from_millis(pause_ms);
            let actual = Jitter::HALF.apply(pause, random);
            prop_assert!(actual >= pause / 2 && actual <= pause);
        }
    }
}
