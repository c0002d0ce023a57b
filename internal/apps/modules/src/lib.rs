//! The modules app: devices («modules» on the wire) that users own, the pages that show them, and
//! the administrators' pages. It replaces a Socket.IO server and keeps that server's protocol;
//! `docs/apps/modules.md` describes the migration.
//!
//! Web clients and older firmware connect over Socket.IO (`socketio`), newer firmware over `/esp32`
//! (`device_connection`), and servers call HTTP routes (`routes`, `emit_api`). Changes of the
//! modules table arrive over its triggers (`row_sync`). All input goes to the `service`. It keeps
//! the known state (`registry`) and publishes real changes (`events`) to the topics of the
//! permitted clients (`topics`). A client's identity comes from a token, a session or a device
//! password (`authenticator`, `device`), and never from its own claims.

mod admin_stats;
mod app;
mod authenticator;
mod client_request;
mod config;
mod device;
mod device_auth;
mod device_commands;
mod device_connection;
mod emit_api;
mod emit_call;
mod emit_methods;
mod events;
mod express_session;
mod module_claims;
mod page;
mod page_requests;
mod persistence;
mod registry;
mod routes;
mod row_sync;
mod service;
mod service_state;
mod service_views;
mod socketio;
mod start;
mod stats_feed;
mod store;
mod throttle;
mod time_format;
mod topics;
mod upgrade;
mod user;

pub use config::{Config, NAME};
pub use start::start;
pub use stats_feed::{STATS_STREAM, stream as stats_stream};
