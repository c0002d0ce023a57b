//! Counters that share a metric name and differ in one label.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// A counter for each value of one label. The values form a closed list. Clones share the counts.
#[derive(Debug, Clone)]
pub struct LabelledCounter {
    label: &'static str,
    /// The counter of each label value. The write lock is needed only for a value's first use;
    /// counting takes the read lock.
    by_value: Arc<RwLock<BTreeMap<&'static str, Counter>>>,
}

impl Default for LabelledCounter {
    fn default() -> Self {
        Self::new("reason")
    }
}

impl LabelledCounter {
    pub(super) fn new(label: &'static str) -> Self {
        Self {
            label,
            by_value: Arc::default(),
        }
    }

    /// Creates these values at zero. Prometheus' `rate` cannot see the increase of a counter that
    /// first appears at one.
    pub fn init_labels(&self, values: impl IntoIterator<Item = &'static str>) {
        values
            .into_iter()
            .for_each(|value| drop(self.counter_for(value)));
    }

    /// Adds one to the counter of `value`.
    pub fn increment(&self, value: &'static str) {
        self.counter_for(value).inc();
    }

    /// Adds a number to the counter of `value`.
    pub fn increment_by(&self, value: &'static str, number: u64) {
        self.counter_for(value).inc_by(number);
    }

    /// Returns the current count of `value`.
    pub fn get(&self, value: &'static str) -> u64 {
        self.counter_for(value).get()
    }

    /// Returns every value with its count, sorted by value.
    pub fn values(&self) -> Vec<(&'static str, u64)> {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        by_value
            .iter()
            .map(|(value, counter)| (*value, counter.get()))
            .collect()
    }

    /// Returns the sum over all values.
    pub fn total(&self) -> u64 {
        self.by_value
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(Counter::get)
            .sum()
    }

    fn counter_for(&self, value: &'static str) -> Counter {
        let known = self
            .by_value
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(value)
            .cloned();
        let new = || {
            self.by_value
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(value)
                .or_default()
                .clone()
        };
        known.unwrap_or_else(new)
    }
}

impl EncodeMetric for LabelledCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        for (value, counter) in by_value.iter() {
            let labels = [(self.label, *value)];
            counter.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        self.by_value
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_own_count() {
        let counters = LabelledCounter::new("reason");
        counters.init_labels(["b"]);
        counters.clone().increment("a");
        counters.increment("a");
        assert_eq!(
            (counters.values(), counters.total(), counters.get("a")),
            (vec![("a", 2), ("b", 0)], 2, 2)
        );
    }
}
