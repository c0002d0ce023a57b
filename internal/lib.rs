//! Latido: live statistics from PostgreSQL.
//!
//! `docs/design/architecture.md` has the map, the paths of a change and of a client, and the invariants.

pub mod app;
pub mod apps;
pub mod auth;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drain;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod hub;
pub mod ident;
pub mod operations;
pub mod postgres;
pub mod protocol;
pub mod session;
pub mod shard;
pub mod socketio;
pub mod stream;
pub mod telemetry;
pub mod websocket;

#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod simulation;
