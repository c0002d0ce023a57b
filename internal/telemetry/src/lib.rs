//! Logs, metrics and recent events: the operator's view of a running server.

mod apps;
mod counters;
mod exposition;
mod journal;
mod logs;
mod metrics;
mod seconds;

pub use apps::AppMetrics;
pub use counters::LabelledCounter;
pub use exposition::Exposition;
pub use journal::{RecentEvent, RecentEvents, RecentEventKind};
pub use logs::init as init_logs;
pub use metrics::{SampledGauges, Metrics};
pub use seconds::{DurationHistogram, HistogramSnapshot};
