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
mod claim_attempts;
mod client_request;
mod client_socket;
mod config;
mod database;
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
mod name;
mod page;
mod page_requests;
mod password_queue;
mod persistence;
mod registry;
mod routes;
mod row_notifications;
mod row_reader;
mod row_sync;
mod service;
mod service_state;
mod service_views;
mod settings;
mod socketio;
mod start;
mod stats_feed;
mod store;
mod throttle;
mod time_format;
mod topics;
mod upgrade;
mod user;
mod verified_passwords;

use std::sync::Arc;

use latido_app_kit::{App, AppSchema, ServerSettings, Starter};
use latido_settings::{SettingsReader, Variable};
use latido_stream::Stream;

use config::Config;
use name::NAME;

/// The description of the app's addresses.
const OPENAPI: &str = include_str!("openapi.json");

/// The app, as the list of apps names it.
#[derive(Debug)]
pub struct Modules;

impl App for Modules {
    fn name(&self) -> &'static str {
        NAME
    }

    fn variables(&self) -> &'static [Variable] {
        settings::VARIABLES
    }

    fn streams(&self, time_zone: &str) -> Vec<Stream> {
        vec![stats_feed::stream(time_zone)]
    }

    fn schema(&self) -> Option<&'static AppSchema> {
        Some(&database::SCHEMA)
    }

    fn channels(&self) -> &'static [&'static str] {
        &[row_notifications::NOTIFY_CHANNEL]
    }

    fn openapi(&self) -> Option<&'static str> {
        Some(OPENAPI)
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, server: &ServerSettings<'_>) -> Starter {
        let introspection = server.verifier.introspection.as_ref();
        let config = Config::from_settings(reader, server.time_zone, introspection);
        Arc::new(move |deps| start::start(&config, deps))
    }
}
