//! A second, plainer query that verifies the result of an optimised one.

use std::sync::atomic::{AtomicBool, Ordering};

/// A query that must return the same rows as the stream's own query. After the first difference it
/// permanently replaces that query.
#[derive(Debug)]
pub struct VerificationQuery {
    /// The SQL, with the same parameters and columns as the stream's own query.
    pub query: String,
    /// Set by the verification that finds a difference and loaded by every read. Relaxed ordering
    /// suffices: it is set once and never cleared, and the keys are read again afterwards.
    is_active: AtomicBool,
}

impl VerificationQuery {
    /// Creates a query that has found no difference yet.
    pub fn new(query: String) -> Self {
        Self {
            query,
            is_active: AtomicBool::new(false),
        }
    }

    /// Returns `true` if the stream is currently read with this query.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Relaxed)
    }

    /// Reads the stream with this query from now on. Returns `true` if that is a change.
    pub fn activate(&self) -> bool {
        !self.is_active.swap(true, Ordering::Relaxed)
    }
}
