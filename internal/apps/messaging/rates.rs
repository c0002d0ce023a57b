//! How much one user may send, on however many sockets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// Users that are remembered before those are forgotten who may send all again.
const MOST: usize = 10_000;

/// A bucket of an hour's allowance for each user, filled at an even pace.
#[derive(Debug)]
pub(super) struct Rates {
    an_hour: u32,
    /// Held for one look-up.
    buckets: Mutex<HashMap<Uuid, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at_s: i64,
}

impl Rates {
    pub(super) fn new(an_hour: u32) -> Self {
        Self {
            an_hour,
            buckets: Mutex::default(),
        }
    }

    /// Takes one. Err: in how many seconds there will be one.
    pub(super) fn take(&self, user: Uuid, now_s: i64) -> Result<(), i64> {
        let (full, a_second) = (f64::from(self.an_hour), f64::from(self.an_hour) / 3600.0);
        let level = |bucket: &Bucket| {
            let passed =
                f64::from(u32::try_from(now_s.saturating_sub(bucket.at_s)).unwrap_or_default());
            (bucket.level + passed * a_second).min(full)
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
            return Err(((1.0 - left) / a_second.max(1.0 / 3600.0))
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
    fn an_hours_allowance_comes_back_evenly() {
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
