//! Counters that share a metric name and differ in one label.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// A counter for each value of one label. The values are a closed list, or the names of the
/// configured streams. Clones share the counts.
#[derive(Debug, Clone)]
pub struct LabelledCounter {
    label: &'static str,
    /// The counter of each label value. The write lock is needed only for a value's first use;
    /// counting takes the read lock.
    by_value: Arc<RwLock<BTreeMap<Cow<'static, str>, Counter>>>,
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
    pub fn init_labels(&self, values: impl IntoIterator<Item = impl Into<Cow<'static, str>>>) {
        values
            .into_iter()
            .for_each(|value| drop(self.counter_for(value)));
    }

    /// Forgets the values for which `is_kept` is false, with their counts.
    pub fn retain_labels(&self, is_kept: impl Fn(&str) -> bool) {
        let mut by_value = self
            .by_value
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        by_value.retain(|value, _| is_kept(value));
    }

    /// Adds one to the counter of `value`.
    pub fn increment(&self, value: impl Into<Cow<'static, str>>) {
        self.counter_for(value).inc();
    }

    /// Adds a number to the counter of `value`.
    pub fn increment_by(&self, value: impl Into<Cow<'static, str>>, number: u64) {
        self.counter_for(value).inc_by(number);
    }

    /// Returns the current count of `value`.
    pub fn get(&self, value: impl Into<Cow<'static, str>>) -> u64 {
        self.counter_for(value).get()
    }

    /// Returns every value with its count, sorted by value.
    pub fn values(&self) -> Vec<(Cow<'static, str>, u64)> {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        by_value
            .iter()
            .map(|(value, counter)| (value.clone(), counter.get()))
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

    fn counter_for(&self, value: impl Into<Cow<'static, str>>) -> Counter {
        let value = value.into();
        let known = self
            .by_value
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&value)
            .cloned();
        known.unwrap_or_else(|| {
            self.by_value
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(value)
                .or_default()
                .clone()
        })
    }
}

impl EncodeMetric for LabelledCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let by_value = self.by_value.read().unwrap_or_else(PoisonError::into_inner);
        for (value, counter) in by_value.iter() {
            let labels = [(self.label, value.as_ref())];
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
            (vec![("a".into(), 2), ("b".into(), 0)], 2, 2)
        );
    }
}
