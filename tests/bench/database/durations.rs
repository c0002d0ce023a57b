//! The quantiles of many short durations.

use std::time::Duration;

/// The durations of one kind, in µs.
#[derive(Debug, Default)]
pub(crate) struct Durations(Vec<f64>);

impl Durations {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1e6);
    }

    /// Adds all durations of another value.
    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Returns the number of durations.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the sum of all durations, in µs.
    pub(crate) fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Returns the duration in µs that a share of them (0 to 1) does not exceed, or NaN if there
    /// are none.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().saturating_sub(1) as f64;
        sorted
            .get((last * part).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }
}
