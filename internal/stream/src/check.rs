//! A second, plainer query that verifies the result of an optimised one.

use std::sync::atomic::{AtomicBool, Ordering};

/// A query that must return the same rows as the stream's own query. After the first difference it
/// permanently replaces that query.
#[derive(Debug)]
pub struct Check {
    /// The SQL, with the same parameters and columns as the stream's own query.
    pub query: String,
    /// Set by the verification that finds a difference and loaded by every read. Relaxed ordering
    /// suffices: it is set once and never cleared, and the keys are read again afterwards.
    stands_in: AtomicBool,
}

impl Check {
    /// Creates a query that has found no difference yet.
    pub fn new(query: String) -> Self {
        Self {
            query,
            stands_in: AtomicBool::new(false),
        }
    }

    /// Returns `true` if the stream is currently read with this query.
    pub fn stands_in(&self) -> bool {
        self.stands_in.load(Ordering::Relaxed)
    }

    /// Reads the stream with this query from now on. Returns `true` if that is a change.
    pub fn stand_in(&self) -> bool {
        !self.stands_in.swap(true, Ordering::Relaxed)
    }
}
