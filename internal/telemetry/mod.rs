//! Logs and metrics: what an operator sees of a running server.

mod exposition;
mod logs;
mod metrics;

pub use exposition::Exposition;
pub use logs::init as init_logs;
pub use metrics::{Gauges, Metrics};
