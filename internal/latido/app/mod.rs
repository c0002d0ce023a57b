//! Builds a server from its parts, runs it, and stops it. No other module wires parts together.

mod adapters;
mod add_stream;
mod app_listeners;
mod config;
mod database_commands;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod demo_database;
#[cfg(feature = "demo")]
mod demo_stream;
mod notification_routes;
mod reload;
mod serve;
mod server;
mod server_corrections;
mod sleep_monitor;
mod socketio_apps;
mod stream_core;
mod stream_inference;
mod stream_monitor;
mod stream_types;
mod trigger_monitor;
mod try_query;

pub use add_stream::{DEFAULT_CONFIG, StreamEntry, append_entry, stream_of_file};
pub use config::Config;
pub use database_commands::{
    SERVING_ROLE, doctor, grants, install, install_sql, migration, uninstall, uninstall_sql,
};
#[cfg(feature = "demo")]
pub use demo::{DemoInfo, demo};
pub use reload::ReloadSource;
pub use serve::serve;
pub use server::App;
pub use server_corrections::{InvalidServerAddress, ServerAddress, examine_servers};
pub use stream_inference::complete_streams;
pub use stream_types::typescript_types;
pub use try_query::{TryInfo, TryOptions, try_query};
