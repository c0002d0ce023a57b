//! An hourly rate limit per user, shared by all of the user's sockets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The number of users to remember before those with a full allowance are forgotten.
const MAX_REMEMBERED_USERS: usize = 10_000;

/// A token bucket per user. It holds one hour's allowance and refills at an even pace.
#[derive(Debug)]
pub(super) struct UserRateLimit {
    per_hour: u32,
    /// The lock is held for one look-up.
    tokens_by_user: Mutex<HashMap<Uuid, UserTokens>>,
}

#[derive(Debug, Clone, Copy)]
struct UserTokens {
    tokens: f64,
    updated_at_s: i64,
}

impl UserRateLimit {
    pub(super) fn new(per_hour: u32) -> Self {
        Self {
            per_hour,
            tokens_by_user: Mutex::default(),
        }
    }

    /// Takes one token of the user's allowance.
    ///
    /// # Errors
    /// Returns the number of seconds until a token is available, between 1 and 3,600.
    pub(super) fn try_acquire(&self, user: Uuid, now_s: i64) -> Result<(), i64> {
        let (full, per_second) = (f64::from(self.per_hour), f64::from(self.per_hour) / 3600.0);
        let level = |bucket: &UserTokens| {
            let passed = f64::from(
                u32::try_from(now_s.saturating_sub(bucket.updated_at_s)).unwrap_or_default(),
            );
            (bucket.tokens + passed * per_second).min(full)
        };
        let mut buckets = self
            .tokens_by_user
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_REMEMBERED_USERS && !buckets.contains_key(&user) {
            buckets.retain(|_, bucket| level(bucket) < full);
        }
        let bucket = buckets.entry(user).or_insert(UserTokens {
            tokens: full,
            updated_at_s: now_s,
        });
        let left = level(bucket);
        if left < 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "at most an hour and a bit, in seconds"
            )]
            return Err(((1.0 - left) / per_second.max(1.0 / 3600.0))
                .ceil()
                .clamp(1.0, 3600.0) as i64);
        }
        *bucket = UserTokens {
            tokens: left - 1.0,
            updated_at_s: now_s.max(bucket.updated_at_s),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hourly_allowance_refills_evenly() {
        let (rates, user) = (UserRateLimit::new(60), Uuid::from_u128(1));
        assert!((0..60).all(|_| rates.try_acquire(user, 100).is_ok()));
        assert_eq!(rates.try_acquire(user, 100), Err(60));
        assert_eq!(rates.try_acquire(user, 130), Err(30));
        assert_eq!(rates.try_acquire(user, 160), Ok(()));
        assert_eq!(rates.try_acquire(user, 160), Err(60));
        assert_eq!(
            rates.try_acquire(Uuid::from_u128(2), 160),
            Ok(()),
            "each has an own one"
        );
        assert_eq!(
            rates.try_acquire(user, 90),
            Err(60),
            "a clock that was set back gives nothing"
        );
    }
}
