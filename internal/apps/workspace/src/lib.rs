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
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use latido_app_kit::{App, AppDeps, AppServices, ServerSettings, Starter};
use latido_auth::Verifier;
use latido_base::clock::Clock;
use latido_event_bus::{
    EncodingId, EventBus, PresenceDiff, PresenceMode, Publish, TopicName, TopicPolicy,
};
use latido_session::SessionLimits;
use latido_settings::{SettingsReader, Variable};
use latido_telemetry::AppMetrics;

use config::Config;

/// The app's name in settings and metrics.
const NAME: &str = "workspace";
/// The encoding of all clients of this app; each frame has only one form.
const ENCODING: EncodingId = EncodingId(1);
/// The topic-name prefix of workspaces. Users have another prefix, because an id may be in use as
/// both.
const WORKSPACE: &str = "workspace:";
const USER: &str = "user:";

/// The state that all connections and requests of the app share.
struct WorkspaceShared {
    event_bus: EventBus,
    config: Config,
    verifier: Arc<Verifier>,
    limits: SessionLimits,
    metrics: AppMetrics,
    clock: Clock,
}

/// The topic policy: the users of a workspace can be listed, but changes are not announced.
struct WorkspaceTopicPolicy;

impl TopicPolicy for WorkspaceTopicPolicy {
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode {
        if topic.as_str().starts_with(WORKSPACE) {
            PresenceMode::Listed
        } else {
            PresenceMode::Off
        }
    }

    fn on_presence_change(&self, _: &TopicName, _: &PresenceDiff) -> Vec<Publish> {
        Vec::new()
    }
}

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

impl WorkspaceShared {
    fn new(
        config: Config,
        verifier: Arc<Verifier>,
        limits: SessionLimits,
        metrics: AppMetrics,
        clock: Clock,
    ) -> Arc<Self> {
        metrics.init_labels(&wire::MESSAGE_TYPES, &connection::REFUSAL_REASONS);
        let now = clock.clone();
        let exchange = EventBus::new(WorkspaceTopicPolicy, move || now.now().as_microsecond());
        Arc::new(Self {
            event_bus: exchange,
            config,
            verifier,
            limits,
            metrics,
            clock,
        })
    }
}

fn workspace_topic(id: &str) -> TopicName {
    TopicName::new(&format!("{WORKSPACE}{id}"))
}

fn user_topic(id: &str) -> TopicName {
    TopicName::new(&format!("{USER}{id}"))
}
