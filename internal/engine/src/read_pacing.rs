//! The limits on the rate of reads and on the size of batches.

use std::time::Duration;

use latido_base::backoff::BackoffRange;

/// The default shortest time between two reads of one key.
pub(crate) const READ_INTERVAL: Duration = Duration::from_millis(50);

/// The limits on batch size, read interval, retries and notification rate.
#[derive(Debug, Clone)]
pub struct ReadPacing {
    /// The largest number of keys in one statement.
    pub batch_keys: usize,
    /// The shortest time between the starts of two reads of one key. A stream may have its own.
    pub min_interval: Duration,
    /// The pauses of a key after the database rejected its own statement.
    pub backoff: BackoffRange,
    /// The number of notifications in a second from which a key is polled every
    /// [`ReadPacing::min_interval`] instead of being notified. `None` disables polling.
    pub hot_from: Option<u32>,
}

impl Default for ReadPacing {
    fn default() -> Self {
        Self {
            batch_keys: 256,
            min_interval: READ_INTERVAL,
            backoff: BackoffRange::new(Duration::from_millis(100), Duration::from_secs(30)),
            hot_from: default_hot_from(READ_INTERVAL),
        }
    }
}

impl ReadPacing {
    /// Returns the same limits with another interval between the reads of one key.
    pub fn with_interval(self, min_interval: Duration) -> Self {
        Self {
            min_interval,
            hot_from: default_hot_from(min_interval),
            ..self
        }
    }
}

/// Returns ten times the largest number of reads in a second, but at least 200, since that many
/// notifications cost next to nothing. Returns `None` for an interval of zero: a poll timer would
/// never rest.
fn default_hot_from(min_interval: Duration) -> Option<u32> {
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
