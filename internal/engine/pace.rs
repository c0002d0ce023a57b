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
    /// From how many notifications a second on a key is read every [`Pace::min_interval`] instead of being told of; none: never.
    pub hot_from: Option<u32>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch_keys: 256,
            min_interval: Duration::from_millis(40),
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(30),
            hot_from: hot_from(Duration::from_millis(40)),
        }
    }
}

impl Pace {
    /// With another interval between the reads of one key.
    pub fn with_interval(self, min_interval: Duration) -> Self {
        Self {
            min_interval,
            hot_from: hot_from(min_interval),
            ..self
        }
    }
}

/// Ten times as many as are read, and no fewer than 200, which cost next to nothing. Where reads follow each other without a pause a timer would
/// never rest.
fn hot_from(min_interval: Duration) -> Option<u32> {
    let reads = Duration::from_secs(1)
        .as_nanos()
        .checked_div(min_interval.as_nanos())?;
    Some(
        u32::try_from(reads)
            .unwrap_or(u32::MAX)
            .saturating_mul(10)
            .max(200),
    )
}
