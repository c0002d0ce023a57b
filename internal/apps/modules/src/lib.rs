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

mod addresses;
mod app;
mod commands;
mod config;
mod cookie;
mod dates;
mod device;
mod emit;
mod grouping;
mod guest;
mod harbour;
mod identity;
mod news;
mod office;
mod orders;
mod page;
mod people;
mod query;
mod registry;
mod request;
mod rows;
mod socket;
mod stats;
mod store;
mod tally;
mod topics;

use app::ModulesApp;
pub use app::start;
pub use config::Config;
pub use stats::{STATS_STREAM, stream as stats_stream};

/// The app's name in `LATIDO_APPS`.
pub const NAME: &str = "modules";
