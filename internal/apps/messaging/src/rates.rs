//! An hourly rate limit per user, shared by all of the user's sockets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The number of users to remember before those with a full allowance are forgotten.
const MOST: usize = 10_000;

/// A token bucket per user. It holds one hour's allowance and refills at an even pace.
#[derive(Debug)]
pub(super) struct Rates {
    per_hour: u32,
    /// The lock is held for one look-up.
    buckets: Mutex<HashMap<Uuid, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at_s: i64,
}

impl Rates {
    pub(super) fn new(per_hour: u32) -> Self {
        Self {
            per_hour,
            buckets: Mutex::default(),
        }
    }

    /// Takes one token of the user's allowance.
    ///
    /// # Errors
    /// Returns the number of seconds until a token is available, between 1 and 3,600.
    pub(super) fn take(&self, user: Uuid, now_s: i64) -> Result<(), i64> {
        let (full, per_second) = (f64::from(self.per_hour), f64::from(self.per_hour) / 3600.0);
        let level = |bucket: &Bucket| {
            let passed =
                f64::from(u32::try_from(now_s.saturating_sub(bucket.at_s)).unwrap_or_default());
            (bucket.level + passed * per_second).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST && !buckets.contains_key(&user) {
            buckets.retain(|_, bucket| level(bucket) < full);
        }
        let bucket = buckets.entry(user).or_insert(Bucket {
            level: full,
            at_s: now_s,
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
        *bucket = Bucket {
            level: left - 1.0,
            at_s: now_s.max(bucket.at_s),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hourly_allowance_refills_evenly() {
        let (rates, user) = (Rates::new(60), Uuid::from_u128(1));
        assert!((0..60).all(|_| rates.take(user, 100).is_ok()));
        assert_eq!(rates.take(user, 100), Err(60));
        assert_eq!(rates.take(user, 130), Err(30));
        assert_eq!(rates.take(user, 160), Ok(()));
        assert_eq!(rates.take(user, 160), Err(60));
        assert_eq!(
            rates.take(Uuid::from_u128(2), 160),
            Ok(()),
            "each has an own one"
        );
        assert_eq!(
            rates.take(user, 90),
            Err(60),
            "a clock that was set back gives nothing"
        );
    }
}
