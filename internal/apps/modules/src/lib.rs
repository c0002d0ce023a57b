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
mod device_commands;
mod device_connection;
mod emit_api;
mod events;
mod express_session;
mod mount;
mod page;
mod pending_commands;
mod registry;
mod routes;
mod row_sync;
mod service;
mod socketio;
mod stats_feed;
mod store;
mod throttle;
mod time_format;
mod topics;
mod user;

use app::ModulesApp;
pub use app::start;
pub use config::Config;
pub use stats_feed::{STATS_STREAM, stream as stats_stream};

/// The app's name in `LATIDO_APPS`.
pub const NAME: &str = "modules";
