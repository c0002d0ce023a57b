//! Counters that share a metric name and differ in one label.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// A counter for each value of one label. The values form a closed list. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Counters {
    label: &'static str,
    /// The counter of each label value. The write lock is needed only for a value's first use;
    /// counting takes the read lock.
    by_value: Arc<RwLock<BTreeMap<&'static str, Counter>>>,
}

impl Default for Counters {
    fn default() -> Self {
        Self::by("reason")
    }
}

impl Counters {
    pub(super) fn by(label: &'static str) -> Self {
        Self {
            label,
            by_value: Arc::default(),
        }
    }

    /// Creates these values at zero. Prometheus' `rate` cannot see the increase of a counter that
    /// first appears at one.
    pub fn expect(&self, values: impl IntoIterator<Item = &'static str>) {
        values
            .into_iter()
            .for_each(|value| drop(self.counter(value)));
    }

    /// Adds one to the counter of `value`.
    pub fn add(&self, value: &'static str) {
        self.counter(value).inc();
    }

    /// Returns the current count of `value`.
    pub fn get(&self, value: &'static str) -> u64 {
        self.counter(value).get()
    }

    /// Returns every value with its count, sorted by value.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
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

    fn counter(&self, value: &'static str) -> Counter {
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

impl EncodeMetric for Counters {
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
        let counters = Counters::by("reason");
        counters.expect(["b"]);
        counters.clone().add("a");
        counters.add("a");
        assert_eq!(
            (counters.all(), counters.total(), counters.get("a")),
            (vec![("a", 2), ("b", 0)], 2, 2)
        );
    }
}
