//! Latido: live statistics from PostgreSQL.
//!
//! `docs/design/architecture.md` has the map of crates, the paths of a change and of a client, and
//! the invariants. This crate reads the settings, builds a server from its parts, and runs it.

pub mod app;
pub mod apps;
pub mod config;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod migration;
mod migration_version;
pub mod shell_word;
mod typescript;
