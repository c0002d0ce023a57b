//! An hourly rate limit per user, shared by all of the user's sockets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use latido_base::token_bucket::{TokenBucket, TokenRate};
use uuid::Uuid;

/// The number of users to remember before those with a full allowance are forgotten.
const MAX_REMEMBERED_USERS: usize = 10_000;

/// A token bucket per user. It holds one hour's allowance or a smaller burst, and refills at an
/// even pace.
#[derive(Debug)]
pub(super) struct UserRateLimit {
    rate: TokenRate,
    /// The lock is held for one look-up.
    buckets: Mutex<HashMap<Uuid, TokenBucket>>,
}

/// The error for a user without allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is reached; the next token is due in {retry_after_s} s")]
pub(super) struct RateLimitReached {
    /// The seconds until a token is available, between 1 and 3,600.
    pub(super) retry_after_s: i64,
}

impl UserRateLimit {
    /// Creates a limit that one burst may use up.
    pub(super) fn new(per_hour: u32) -> Self {
        Self::in_bursts(per_hour, per_hour)
    }

    /// Creates a limit of which at most `burst` can be used at once.
    pub(super) fn in_bursts(per_hour: u32, burst: u32) -> Self {
        Self {
            rate: TokenRate::per_hour_in_bursts(per_hour, burst),
            buckets: Mutex::default(),
        }
    }

    /// Takes one token of the user's allowance.
    ///
    /// # Errors
    /// Returns an error if the allowance is used up.
    pub(super) fn try_acquire(&self, user: Uuid, now_s: i64) -> Result<(), RateLimitReached> {
        let now = Duration::from_secs(u64::try_from(now_s).unwrap_or_default());
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_REMEMBERED_USERS && !buckets.contains_key(&user) {
            buckets.retain(|_, bucket| !bucket.is_full(self.rate, now));
        }
        let bucket = buckets
            .entry(user)
            .or_insert_with(|| TokenBucket::full(self.rate, now));
        if bucket.try_take(self.rate, now) {
            return Ok(());
        }
        let wait = bucket.next_token_in(self.rate, now);
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(RateLimitReached {
            retry_after_s: i64::try_from(wait_s.clamp(1, 3600)).unwrap_or(3600),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hourly_allowance_of_a_user_refills_evenly() {
        let (rates, user) = (UserRateLimit::new(60), Uuid::from_u128(1));
        assert!((0..60).all(|_| rates.try_acquire(user, 100).is_ok()));
        assert_eq!(
            rates.try_acquire(user, 100),
            Err(RateLimitReached { retry_after_s: 60 })
        );
        assert_eq!(
            rates.try_acquire(user, 130),
            Err(RateLimitReached { retry_after_s: 30 })
        );
        assert_eq!(rates.try_acquire(user, 160), Ok(()));
        assert_eq!(
            rates.try_acquire(user, 160),
            Err(RateLimitReached { retry_after_s: 60 })
        );
        assert_eq!(
            rates.try_acquire(Uuid::from_u128(2), 160),
            Ok(()),
            "each has an own one"
        );
        assert_eq!(
            rates.try_acquire(user, 90),
            Err(RateLimitReached { retry_after_s: 60 }),
            "a clock that was set back gives nothing"
        );
    }
}
