//! A log-linear histogram of nanoseconds, with 32 steps per power of two, each 3 % wide.

use super::Quantiles;

/// The number of steps per power of two.
const STEPS: u64 = 32;

/// The counts of each slot, with the total and the maximum.
#[derive(Debug, Clone)]
pub(super) struct LatencyHistogram {
    counts: Vec<u64>,
    total: u64,
    most: u64,
}

impl LatencyHistogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; 61 * 32],
            total: 0,
            most: 0,
        }
    }

    pub(super) fn add(&mut self, value: u64) {
        self.counts[slot(value)] += 1;
        self.total += 1;
        self.most = self.most.max(value);
    }

    /// Returns the quantiles in milliseconds.
    pub(super) fn quantiles(&self) -> Quantiles {
        let ms = |ns: u64| ns as f64 / 1e6;
        Quantiles {
            p50: ms(self.quantile(0.5)),
            p99: ms(self.quantile(0.99)),
            most: ms(self.most),
            of: self.total,
        }
    }

    fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.total as f64 * share).ceil();
        let mut seen = 0;
        for (slot, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen as f64 >= wanted {
                return lowest(slot as u64).min(self.most);
            }
        }
        0
    }
}

fn slot(value: u64) -> usize {
    let slot = if value < STEPS {
        value
    } else {
        let power = u64::from(value.ilog2());
        (power - 4) * STEPS + ((value >> (power - 5)) & (STEPS - 1))
    };
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// Returns the smallest value of a slot.
fn lowest(slot: u64) -> u64 {
    if slot < STEPS {
        slot
    } else {
        (STEPS + slot % STEPS) << (slot / STEPS - 1)
    }
}
