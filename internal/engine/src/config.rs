//! The engine's settings.

use std::time::Duration;

use crate::read_pacing::ReadPacing;
use latido_stream::HistoryLimits;

/// The default interval of the sweep.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// The default number of rows of one topic's history.
pub(super) const HISTORY_ROWS: u32 = 1_000;

/// The largest size of the rows of one topic's history, in bytes. A frame is one message of a
/// WebSocket, which clients buffer as a whole.
const HISTORY_BYTES: u32 = 1024 * 1024;

/// The engine's settings: pacing, sweeps, staleness and slots for slow keys.
#[derive(Debug, Clone)]
pub struct Config {
    /// The limits on batch size, read interval and retries.
    pub pacing: ReadPacing,
    /// The interval at which all watched keys are read again while notifications arrive.
    pub sweep: Duration,
    /// The interval of the sweep while notifications do not arrive.
    pub sweep_without_notifications: Duration,
    /// The length of a database outage after which viewers are notified that numbers may be old.
    pub stale_after: Duration,
    /// The number of slow or failing keys that may be read at a time, in addition to the batches.
    pub solo_slots: usize,
    /// The limits of one topic's history.
    pub history: HistoryLimits,
    /// The number of statements for histories at a time, at least 1.
    pub history_statements: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pacing: ReadPacing::default(),
            sweep: SWEEP_INTERVAL,
            sweep_without_notifications: Duration::from_secs(5),
            stale_after: Duration::from_secs(1),
            solo_slots: 2,
            history: HistoryLimits {
                rows: HISTORY_ROWS,
                bytes: HISTORY_BYTES,
            },
            history_statements: 2,
        }
    }
}
