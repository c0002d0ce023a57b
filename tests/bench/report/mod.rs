//! The results: samples in rounds, goals, and the subjects that were not run, with the reason.

mod chart;
mod json;
mod results;
mod table;
mod write;

pub(crate) use results::{BenchReport, Goal, GoalBound, MeasureSeries, ScenarioResult};
