//! A rate limit for each key of one kind: for each user, or for each client address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::token_bucket::{TokenBucket, TokenRate};

/// The smallest number of table entries at which idle ones are removed.
const MIN_SWEEP: usize = 64;

/// A separate token bucket for each key. A bucket that is full again is forgotten.
#[derive(Debug)]
pub struct KeyedRateLimit<K> {
    rate: TokenRate,
    origin: Instant,
    /// Locked for one look-up and an occasional sweep.
    table: Mutex<BucketTable<K>>,
}

#[derive(Debug)]
struct BucketTable<K> {
    buckets: HashMap<K, TokenBucket>,
    sweep_at: usize,
}

impl<K: Hash + Eq> KeyedRateLimit<K> {
    /// Creates a limit of `per_second` on average, with `burst` at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            rate: TokenRate::per_second(per_second, burst.max(1)),
            origin: Instant::now(),
            table: Mutex::new(BucketTable {
                buckets: HashMap::new(),
                sweep_at: MIN_SWEEP,
            }),
        }
    }

    /// Takes one token of a key. Returns `false` if none is left.
    pub fn try_take(&self, key: K) -> bool {
        let now = self.origin.elapsed();
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.buckets.len() >= table.sweep_at {
            table
                .buckets
                .retain(|_, bucket| !bucket.is_full(self.rate, now));
            table.sweep_at = (table.buckets.len() * 2).max(MIN_SWEEP);
        }
        table
            .buckets
            .entry(key)
            .or_insert_with(|| TokenBucket::full(self.rate, now))
            .try_take(self.rate, now)
    }

    /// Returns whether a key has a token left.
    pub fn has_token(&self, key: &K) -> bool {
        let now = self.origin.elapsed();
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .buckets
            .get(key)
            .is_none_or(|bucket| bucket.next_token_in(self.rate, now).is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_limited_separately_and_forgotten_when_idle() {
        let limit = KeyedRateLimit::new(1, 2);
        assert!(limit.has_token(&0));
        assert_eq!(
            [0, 0, 0].map(|key| limit.try_take(key)),
            [true, true, false]
        );
        assert!(!limit.has_token(&0) && limit.has_token(&1) && limit.try_take(1));
        let many = KeyedRateLimit::new(1_000_000, 1);
        for key in 0..10_000 {
            many.try_take(key);
        }
        let entries = many.table.lock().unwrap().buckets.len();
        assert!(entries < 10_000, "{entries}");
    }
}
