#![doc = include_str!("../ARCHITECTURE.md")]

pub mod app;
mod apps;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
