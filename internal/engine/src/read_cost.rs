//! The cost of reads: detects keys that are too costly for a batch, and batches that took longer
//! than their keys explain. Pure.
//!
//! The database reports the time of each row. In a statement of the LATERAL form, the time between
//! two rows is the work for one key, so a heavy key is known after its first read. Statements of
//! other forms do all their work before the first row, so the first row's key is never blamed.

use std::time::Duration;

use crate::read_batch::KeyCost;

/// The read time from which a key gets a statement of its own. It returns to the batches below half
/// of this.
const HEAVY_KEY: Duration = Duration::from_millis(5);

/// The same limit for a polled key. It is lower because such a key is read so often that other keys
/// would wait for it much of the time.
const HEAVY_POLLED_KEY: Duration = Duration::from_millis(1);

/// The duration below which a statement never counts as slow.
const MIN_SLOW: Duration = Duration::from_millis(50);

/// The multiple of its keys' typical cost beyond which a statement is slow.
const SLOW_FACTOR: u32 = 8;

/// Classifies a key by its measured read time. `alone`: it was read by a statement of its own.
/// `hot`: it is polled.
pub(super) fn classify(took: Duration, alone: bool, hot: bool) -> KeyCost {
    let limit = if hot { HEAVY_POLLED_KEY } else { HEAVY_KEY };
    let limit = if alone { limit / 2 } else { limit };
    if took >= limit {
        KeyCost::Heavy
    } else {
        KeyCost::Light
    }
}

/// The typical cost of one key of a stream, as a moving average.
#[derive(Debug, Clone)]
pub(super) struct TypicalCost(Duration);

impl Default for TypicalCost {
    fn default() -> Self {
        Self(Duration::from_micros(500))
    }
}

impl TypicalCost {
    /// Records a batch. Returns whether it took far longer than its size explains; `elapsed`
    /// excludes the time of its heavy keys. If so, an unknown heavy key is the likely cause, and
    /// the keys are split until it is alone.
    pub(super) fn record_batch(&mut self, elapsed: Duration, keys: usize) -> bool {
        let keys = u32::try_from(keys).unwrap_or(u32::MAX).max(1);
        let slow = elapsed > MIN_SLOW && elapsed > self.0 * keys * SLOW_FACTOR;
        // A database that is slow as a whole must not look like a heavy key for long, so the
        // average follows slowly.
        self.0 = (self.0 * 7 + (elapsed / keys).min(self.0 * 4)) / 8;
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn heavy_key_is_classified_with_hysteresis() {
        assert_eq!(classify(4 * MS, false, false), KeyCost::Light);
        assert_eq!(classify(5 * MS, false, false), KeyCost::Heavy);
        assert_eq!(classify(3 * MS, true, false), KeyCost::Heavy);
        assert_eq!(classify(2 * MS, true, false), KeyCost::Light);
        assert_eq!(
            (classify(MS, false, true), classify(MS / 2, true, true)),
            (KeyCost::Heavy, KeyCost::Heavy),
            "hot"
        );
        assert_eq!(
            (classify(MS / 2, false, true), classify(MS / 4, true, true)),
            (KeyCost::Light, KeyCost::Light)
        );
    }

    #[test]
    fn slow_batch_is_detected_and_slow_database_becomes_typical() {
        let mut typical = TypicalCost::default();
        assert!(!typical.record_batch(40 * MS, 1), "short");
        let mut typical = TypicalCost::default();
        assert!(typical.record_batch(100 * MS, 2));
        assert!((0..100).any(|_| !typical.record_batch(100 * MS, 2)));
    }
}
