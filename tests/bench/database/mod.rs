//! The scenarios of the database side: writers, reads, bursts and history.

mod burst;
mod citas;
pub(crate) mod durations;
mod history;
mod joined;
mod latency;
mod parameters;
mod partitions;
mod pgbench;
mod prepared_table;
pub(crate) mod quiet_keys;
mod storm;
pub(crate) mod viewer;
mod writers;

use crate::runner::Scenario;

/// The scenarios in the order of their runs.
pub(crate) const ALL: &[Scenario] = &[
    latency::SCENARIO,
    writers::SCENARIO,
    writers::SLOW,
    joined::SCENARIO,
    partitions::SCENARIO,
    parameters::SCENARIO,
    storm::SCENARIO,
    burst::SCENARIO,
    history::SCENARIO,
];
