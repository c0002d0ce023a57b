//! What the database's side costs: writers, reads, bursts, history.

mod burst;
mod citas;
mod history;
mod latency;
pub(crate) mod others;
pub(crate) mod quantile;
mod storm;
pub(crate) mod viewer;
mod writers;

use crate::campaign::Scenario;

/// In the order they run.
pub(crate) const ALL: &[Scenario] = &[
    latency::SCENARIO,
    writers::SCENARIO,
    writers::SLOW,
    storm::SCENARIO,
    burst::SCENARIO,
    history::SCENARIO,
];
