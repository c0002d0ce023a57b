//! A histogram of durations that can also be read back: Prometheus gets its buckets, the operators' page its percentiles.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// Upper bound of the first bucket, in nanoseconds; each next one is twice as wide.
const FIRST_NS: u64 = 250_000;
/// Buckets with an upper bound: from a quarter of a millisecond to eight seconds. One more holds what took longer.
const BOUNDED: usize = 16;

/// A histogram of durations, from a quarter of a millisecond to eight seconds. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seconds(Arc<Inner>);

/// Written by whoever measures, read by scrapes; relaxed, since nothing else hangs on a count.
#[derive(Debug, Default)]
struct Inner {
    buckets: [AtomicU64; BOUNDED + 1],
    sum_ns: AtomicU64,
}

/// How many durations fell into each bucket, up to a moment or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread([u64; BOUNDED + 1]);

impl Seconds {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = (0..BOUNDED)
            .find(|index| ns <= FIRST_NS << index)
            .unwrap_or(BOUNDED);
        self.0.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.0.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// All that was counted so far.
    pub fn spread(&self) -> Spread {
        Spread(std::array::from_fn(|index| {
            self.0.buckets[index].load(Ordering::Relaxed)
        }))
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let spread = self.spread();
        let bounds = (0..BOUNDED)
            .map(|index| seconds(FIRST_NS << index))
            .chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(spread.0).collect();
        let sum = seconds(self.0.sum_ns.load(Ordering::Relaxed));
        encoder.encode_histogram::<[(&str, &str); 0]>(sum, spread.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Spread {
    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| {
            self.0[index].saturating_sub(earlier.0[index])
        }))
    }

    /// How many durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The duration that this share of all (0 to 1) did not exceed, interpolated within its bucket: good to a factor of two at worst.
    /// None: nothing was counted.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let wanted = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0.0;
        for (index, held) in self.0.iter().enumerate().filter(|(_, held)| **held > 0) {
            let held = *held as f64;
            if below + held >= wanted {
                let low = if index == 0 {
                    0
                } else {
                    FIRST_NS << (index - 1)
                };
                let high = if index == BOUNDED {
                    low
                } else {
                    FIRST_NS << index
                };
                let within = (high - low) as f64 * ((wanted - below) / held);
                return Some(Duration::from_nanos(low) + Duration::from_nanos(within as u64));
            }
            below += held;
        }
        None
    }
}

fn seconds(ns: u64) -> f64 {
    Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: &[u64]) -> Spread {
        let seconds = Seconds::default();
        ms.iter()
            .for_each(|ms| seconds.observe(Duration::from_millis(*ms)));
        seconds.spread()
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        assert_eq!(of(&[]).quantile(0.5), None);
        let mut all = [3; 99].to_vec();
        all.push(900);
        let (half, most) = (
            of(&all).quantile(0.5).unwrap(),
            of(&all).quantile(1.0).unwrap(),
        );
        assert!((2_000..=4_000).contains(&half.as_micros()), "{half:?}");
        assert!((512..=1_024).contains(&most.as_millis()), "{most:?}");
        assert!(
            of(&[60_000]).quantile(0.5).unwrap() >= Duration::from_secs(8),
            "longer than all bounds"
        );
    }

    #[test]
    fn a_window_is_the_difference_of_two_moments() {
        let seconds = Seconds::default();
        seconds.observe(Duration::from_secs(5));
        let before = seconds.spread();
        seconds.observe(Duration::from_millis(1));
        let window = seconds.spread().since(&before);
        assert_eq!(window.count(), 1);
        assert!(window.quantile(0.99).unwrap() <= Duration::from_millis(1));
    }
}
