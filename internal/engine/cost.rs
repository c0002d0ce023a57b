//! What reads cost: which keys are too much for a batch, and which batches took longer than can be explained. Pure.
//!
//! The database says when it gave each row. Between two rows of a statement of the LATERAL form lies the work for one key, so a giant is
//! known after its first read. Other forms do their work before the first row: that one is never blamed for it.

use std::time::Duration;

use crate::engine::batch::Weight;

/// A key whose part of a read takes this long is read by a statement of its own; and back among the others at half of it.
const GIANT: Duration = Duration::from_millis(5);
/// The same for a key that is read on a timer: so often that others would wait for it much of the time.
const HOT: Duration = Duration::from_millis(1);
/// A statement shorter than this is never called slow.
const SLOW_AT_LEAST: Duration = Duration::from_millis(50);
/// A statement is slow when it took this many times what its keys usually take.
const SLOW_FACTOR: u32 = 8;

/// What a key was seen to take.
pub(super) fn weight(took: Duration, alone: bool, hot: bool) -> Weight {
    let limit = if hot { HOT } else { GIANT };
    let limit = if alone { limit / 2 } else { limit };
    if took >= limit {
        Weight::Giant
    } else {
        Weight::Light
    }
}

/// What one key of a stream usually takes.
#[derive(Debug, Clone)]
pub(super) struct Usual(Duration);

impl Default for Usual {
    fn default() -> Self {
        Self(Duration::from_micros(500))
    }
}

impl Usual {
    /// Whether a batch took far longer than its size explains, its giants' time already taken off; then an unknown key is to blame, and
    /// they are parted until it stands alone.
    pub(super) fn is_slow(&mut self, elapsed: Duration, keys: usize) -> bool {
        let keys = u32::try_from(keys).unwrap_or(u32::MAX).max(1);
        let slow = elapsed > SLOW_AT_LEAST && elapsed > self.0 * keys * SLOW_FACTOR;
        // A database that is slow as a whole must not look like a giant for long: the measure follows, a little at a time.
        self.0 = (self.0 * 7 + (elapsed / keys).min(self.0 * 4)) / 8;
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_giant_is_one_at_once_and_stays_one_until_it_is_clearly_none() {
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
    fn a_slow_batch_is_noticed_and_a_slow_database_becomes_usual() {
        let mut usual = Usual::default();
        assert!(!usual.is_slow(40 * MS, 1), "short");
        let mut usual = Usual::default();
        assert!(usual.is_slow(100 * MS, 2));
        assert!((0..100).any(|_| !usual.is_slow(100 * MS, 2)));
    }
}
