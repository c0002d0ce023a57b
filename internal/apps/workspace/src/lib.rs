//! The workspace app of Display Sim: its REST API publishes changes through three HTTP routes, and
//! its dashboards receive them over WebSocket.
//!
//! A message to a workspace reaches all its members; a message to a user reaches all sockets of
//! that user. Nothing is stored. Only the token determines the user and the workspaces; the ids in
//! the `auth` frame are compared with it.

mod claims;
mod config;
mod connection;
mod routes;
mod settings;
mod shared;
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use latido_app_kit::{App, AppDeps, AppServices, ServerSettings, Starter};
use latido_settings::{SettingsReader, Variable};

use config::Config;
use shared::{NAME, WorkspaceShared};

/// The description of the app's addresses.
const OPENAPI: &str = include_str!("openapi.json");

/// The app, as the list of apps names it.
#[derive(Debug)]
pub struct Workspace;

impl App for Workspace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn variables(&self) -> &'static [Variable] {
        settings::VARIABLES
    }

    fn openapi(&self) -> Option<&'static str> {
        Some(OPENAPI)
    }

    fn configure(&self, reader: &mut SettingsReader<'_>, _: &ServerSettings<'_>) -> Starter {
        let config = Config::from_settings(reader);
        Arc::new(move |deps| Ok(start(&config, deps)))
    }
}

/// Starts the app, which has no background task.
fn start(config: &Config, parts: &AppDeps) -> AppServices {
    if config.trusts_client_ids {
        tracing::warn!(
            "WORKSPACE_TRUST_CLIENT_IDS is on: every client that reaches this server can read every workspace by naming it; meant for a migration, \
             behind a network that you trust"
        );
    }
    let shared = WorkspaceShared::new(
        config.clone(),
        Arc::clone(&parts.verifier),
        parts.limits,
        parts.metrics.app(NAME),
        parts.clock.clone(),
    );
    let routes = routes::router(Arc::clone(&shared), parts.is_dedicated);
    AppServices {
        http_apps: vec![Arc::new(routes)],
        websocket_apps: vec![Arc::new(upgrade::WorkspaceUpgrade(shared))],
        ..AppServices::default()
    }
}
