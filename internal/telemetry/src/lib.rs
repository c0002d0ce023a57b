//! Logs, metrics and recent events: the operator's view of a running server.

mod app_metrics;
mod exposition;
mod histogram;
mod labelled_counter;
mod logs;
mod metrics;
mod recent_events;
mod sampled_gauges;
mod settings;
mod size_histogram;

pub use app_metrics::AppMetrics;
pub use exposition::Exposition;
pub use histogram::{DurationHistogram, HistogramSnapshot};
pub use labelled_counter::LabelledCounter;
pub use logs::init as init_logs;
pub use metrics::Metrics;
pub use recent_events::{RecentEvent, RecentEventKind, RecentEvents};
pub use sampled_gauges::SampledGauges;
pub use settings::{VARIABLES, read_log_filter};
