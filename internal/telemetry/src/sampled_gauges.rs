//! The gauges whose values are taken when metrics are rendered.

/// Gauge values that the caller of [`Metrics::render`](crate::Metrics::render) supplies at every scrape.
#[derive(Debug, Clone, Copy, Default)]
pub struct SampledGauges {
    /// The number of topics with at least one viewer.
    pub topics: usize,
    /// The number of those topics that have parameters.
    pub param_sets: usize,
    /// The number of subscriptions of all viewers.
    pub subscribers: usize,
    /// The number of keys waiting to be read.
    pub dirty_keys: usize,
    /// The number of keys that rows moved to, and that are read again once the transactions that
    /// were open then have ended.
    pub moved_keys: usize,
}
