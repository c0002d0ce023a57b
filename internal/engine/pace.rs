//! How fast keys are read, and how many together.

use std::time::Duration;

/// How keys are gathered and paced.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Most keys in one statement.
    pub batch_keys: usize,
    /// Least time between the starts of two reads of one key.
    pub min_interval: Duration,
    /// A key whose own statement is rejected is tried again after this, doubled at each failure up to [`Pace::max_backoff`].
    pub backoff: Duration,
    /// Longest pause between tries.
    pub max_backoff: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch_keys: 256,
            min_interval: Duration::from_millis(40),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
        }
    }
}
