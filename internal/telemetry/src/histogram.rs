//! A histogram of durations that can also be read back. Prometheus scrapes its buckets, and the
//! operators' page shows its percentiles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// The upper bound of the first bucket, in nanoseconds. Each following bound is twice the one
/// before.
const FIRST_BOUND_NS: u64 = 250_000;
/// The number of buckets with an upper bound, from a quarter of a millisecond to eight seconds. One
/// more bucket counts longer durations.
const BOUNDED_BUCKETS: usize = 16;

/// A histogram of durations, from a quarter of a millisecond to eight seconds. Clones share the
/// counts.
#[derive(Debug, Clone, Default)]
pub struct DurationHistogram(Arc<HistogramCells>);

/// The shared counts. Relaxed ordering suffices, because no other data depends on a count.
#[derive(Debug, Default)]
struct HistogramCells {
    buckets: [AtomicU64; BOUNDED_BUCKETS + 1],
    sum_ns: AtomicU64,
}

/// The number of durations in each bucket, either since the start or between two moments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramSnapshot([u64; BOUNDED_BUCKETS + 1]);

impl DurationHistogram {
    /// Records one duration in its bucket.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (0..BOUNDED_BUCKETS)
            .find(|index| ns <= FIRST_BOUND_NS << index)
            .unwrap_or(BOUNDED_BUCKETS);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Returns a copy of all counts so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot(std::array::from_fn(|index| {
            self.0.buckets[index].load(Ordering::Relaxed)
        }))
    }
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        let bounds = (0..BOUNDED_BUCKETS)
            .map(|index| as_seconds(FIRST_BOUND_NS << index))
            .chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(snapshot.0).collect();
        let sum = as_seconds(self.0.sum_ns.load(Ordering::Relaxed));
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, snapshot.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl HistogramSnapshot {
    /// Returns the durations that were counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| {
            self.0[index].saturating_sub(earlier.0[index])
        }))
    }

    /// Returns the total number of durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the duration that a `share` (0 to 1) of all durations did not exceed, interpolated
    /// within its bucket. The error is at most a factor of two. Returns `None` if nothing was
    /// counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let target = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        for (index, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let in_bucket = *count as f64;
            if below + in_bucket >= target {
                let low = if index == 0 {
                    0
                } else {
                    FIRST_BOUND_NS << (index - 1)
                };
                let high = if index == BOUNDED_BUCKETS {
                    low
                } else {
                    FIRST_BOUND_NS << index
                };
                let within = (high - low) as f64 * ((target - below) / in_bucket);
                return Some(Duration::from_nanos(low) + Duration::from_nanos(within as u64));
            }
            below += in_bucket;
        }
        None
    }
}

fn as_seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_of(ms: &[u64]) -> HistogramSnapshot {
        let histogram = DurationHistogram::default();
        ms.iter()
            .for_each(|ms| histogram.observe(Duration::from_millis(*ms)));
        histogram.snapshot()
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        assert_eq!(snapshot_of(&[]).quantile(0.5), None);
        let mut all = [3; 99].to_vec();
        all.push(900);
        let (median, maximum) = (
            snapshot_of(&all).quantile(0.5).unwrap(),
            snapshot_of(&all).quantile(1.0).unwrap(),
        );
        assert!((2_000..=4_000).contains(&median.as_micros()), "{median:?}");
        assert!((512..=1_024).contains(&maximum.as_millis()), "{maximum:?}");
        assert!(
            snapshot_of(&[60_000]).quantile(0.5).unwrap() >= Duration::from_secs(8),
            "longer than all bounds"
        );
    }

    #[test]
    fn window_is_difference_of_two_snapshots() {
        let histogram = DurationHistogram::default();
        histogram.observe(Duration::from_secs(5));
        let before = histogram.snapshot();
        histogram.observe(Duration::from_millis(1));
        let window = histogram.snapshot().since(&before);
        assert_eq!(window.count(), 1);
        assert!(window.quantile(0.99).unwrap() <= Duration::from_millis(1));
    }
}
