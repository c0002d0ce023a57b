//! The cost of reads: detects keys that are too costly for a batch, and batches that took longer
//! than their keys explain. Pure.
//!
//! The database reports the time of each row. In a statement of the LATERAL form, the time between
//! two rows is the work for one key, so a heavy key is known after its first read. Statements of
//! other forms do all their work before the first row, so the first row's key is never blamed.

use std::time::Duration;

use crate::batch::Weight;

/// The read time from which a key gets a statement of its own. It returns to the batches below half
/// of this.
const GIANT: Duration = Duration::from_millis(5);
/// The same limit for a polled key. It is lower because such a key is read so often that other keys
/// would wait for it much of the time.
const HOT: Duration = Duration::from_millis(1);
/// The duration below which a statement never counts as slow.
const SLOW_AT_LEAST: Duration = Duration::from_millis(50);
/// The multiple of its keys' typical cost beyond which a statement is slow.
const SLOW_FACTOR: u32 = 8;

/// Classifies a key by its measured read time. `alone`: it was read by a statement of its own.
/// `hot`: it is polled.
pub(super) fn weight(took: Duration, alone: bool, hot: bool) -> Weight {
    let limit = if hot { HOT } else { GIANT };
    let limit = if alone { limit / 2 } else { limit };
    if took >= limit {
        Weight::Giant
    } else {
        Weight::Light
    }
}

/// The typical cost of one key of a stream, as a moving average.
#[derive(Debug, Clone)]
pub(super) struct Usual(Duration);

impl Default for Usual {
    fn default() -> Self {
        Self(Duration::from_micros(500))
    }
}

impl Usual {
    /// Records a batch. Returns whether it took far longer than its size explains; `elapsed`
    /// excludes the time of its heavy keys. If so, an unknown heavy key is the likely cause, and
    /// the keys are split until it is alone.
    pub(super) fn is_slow(&mut self, elapsed: Duration, keys: usize) -> bool {
        let keys = u32::try_from(keys).unwrap_or(u32::MAX).max(1);
        let slow = elapsed > SLOW_AT_LEAST && elapsed > self.0 * keys * SLOW_FACTOR;
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
        assert_eq!(weight(4 * MS, false, false), Weight::Light);
        assert_eq!(weight(5 * MS, false, false), Weight::Giant);
        assert_eq!(weight(3 * MS, true, false), Weight::Giant);
        assert_eq!(weight(2 * MS, true, false), Weight::Light);
        assert_eq!(
            (weight(MS, false, true), weight(MS / 2, true, true)),
            (Weight::Giant, Weight::Giant),
            "hot"
        );
        assert_eq!(
            (weight(MS / 2, false, true), weight(MS / 4, true, true)),
            (Weight::Light, Weight::Light)
        );
    }

    #[test]
    fn slow_batch_is_detected_and_slow_database_becomes_typical() {
        let mut typical = Usual::default();
        assert!(!typical.is_slow(40 * MS, 1), "short");
        let mut typical = Usual::default();
        assert!(typical.is_slow(100 * MS, 2));
        assert!((0..100).any(|_| !typical.is_slow(100 * MS, 2)));
    }
}
