//! A second query, plain, that proves a clever one.

use std::sync::atomic::{AtomicBool, Ordering};

/// A query that must say the same as a stream's own, and that takes its place for good once it did not.
#[derive(Debug)]
pub struct Check {
    /// The SQL: the same parameters and the same columns.
    pub query: String,
    /// Set by whoever finds a difference, read by every read. Relaxed: it only ever rises, and keys are read again after.
    stands_in: AtomicBool,
}

impl Check {
    /// A check that nothing has contradicted yet.
    pub fn new(query: String) -> Self {
        Self {
            query,
            stands_in: AtomicBool::new(false),
        }
    }

    /// Whether the stream is read with this query now.
    pub fn stands_in(&self) -> bool {
        self.stands_in.load(Ordering::Relaxed)
    }

    /// From now on the stream is read with this query. True if it was not before.
    pub fn stand_in(&self) -> bool {
        !self.stands_in.swap(true, Ordering::Relaxed)
    }
}
