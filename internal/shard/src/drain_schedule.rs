//! The schedule of a shutdown.

use std::time::{Duration, Instant};

use latido_base::clock::monotonic_now;

/// The interval between two batches of clients that a shutdown closes.
pub(super) const DRAIN_INTERVAL: Duration = Duration::from_millis(20);

/// The smallest batch; so few clients need not be spread.
const MIN_DRAIN_BATCH: usize = 64;

/// The schedule of a shutdown: clients are closed in batches, so that they do not reconnect all at
/// once.
#[derive(Debug)]
pub(super) struct DrainSchedule {
    /// The first slot of the next batch.
    pub(super) next_slot: u32,
    pub(super) batch: usize,
    pub(super) next_batch_at: Instant,
}

impl DrainSchedule {
    pub(super) fn new(clients: usize, spread: Duration) -> Self {
        let steps = usize::try_from(spread.as_millis() / DRAIN_INTERVAL.as_millis())
            .unwrap_or(1)
            .max(1);
        Self {
            next_slot: 0,
            batch: clients.div_ceil(steps).max(MIN_DRAIN_BATCH),
            next_batch_at: monotonic_now(),
        }
    }

    pub(super) fn next_in(&self) -> Duration {
        self.next_batch_at
            .saturating_duration_since(monotonic_now())
    }
}
