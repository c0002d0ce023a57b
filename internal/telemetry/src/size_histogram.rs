//! A histogram of small counts.

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// A histogram of small counts, with bounds from 1 to 512.
#[derive(Debug, Clone)]
pub struct SizeHistogram(pub(crate) Histogram);

impl Default for SizeHistogram {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(1.0, 2.0, 10)))
    }
}

impl SizeHistogram {
    /// Records one size in the histogram.
    pub fn observe(&self, size: usize) {
        self.0
            .observe(f64::from(u32::try_from(size).unwrap_or(u32::MAX)));
    }
}
