//! Latido: live statistics from Postgres.

pub mod app;
pub mod auth;
pub mod clock;
pub mod config;
pub mod demo;
pub mod drain;
pub mod engine;
pub mod http;
pub mod hub;
pub mod ident;
pub mod postgres;
pub mod protocol;
pub mod session;
pub mod shard;
pub mod stream;
pub mod telemetry;
pub mod websocket;
