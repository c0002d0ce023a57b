//! Display Sim's workspaces: its dashboards are told of changes by its REST API, through three calls of ours.
//!
//! Everybody of a workspace gets what is published there, all sockets of a user what is said to that user; nothing is kept. Who is there is
//! what a token says, and only that: the ids in the `auth` frame are compared with it.

mod claims;
mod config;
mod guest;
mod pier;
mod site;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::apps::{Parts, Served};
use crate::auth::Verifier;
use crate::clock::Clock;
use crate::hub::exchange::{Dialect, Diff, Exchange, Presence, Publish, Rules, TopicName};
use crate::session::Limits;
use crate::telemetry::AppMetrics;

pub use config::{Config, KeyError};

/// The app's name.
pub const NAME: &str = "workspace";
/// Of all its clients: there is one form of each frame.
const DIALECT: Dialect = Dialect(1);
/// Before the id in the name of a workspace's topic. Users have another one: an id may be in use as both.
const WORKSPACE: &str = "workspace:";
const USER: &str = "user:";

/// What every connection and request of the app shares.
struct Shared {
    exchange: Exchange,
    config: Config,
    verifier: Arc<Verifier>,
    limits: Limits,
    metrics: AppMetrics,
    clock: Clock,
}

/// Who is in a workspace can be asked for; nobody is told of changes.
struct Listed;

impl Rules for Listed {
    fn presence(&self, topic: &TopicName) -> Presence {
        if topic.as_str().starts_with(WORKSPACE) {
            Presence::Listed
        } else {
            Presence::Off
        }
    }

    fn notices(&self, _: &TopicName, _: &Diff) -> Vec<Publish> {
        Vec::new()
    }
}

/// Starts the app. Nothing of it runs by itself.
pub fn start(config: &Config, parts: &Parts) -> Served {
    if config.trusts_client_ids {
        tracing::warn!(
            "WORKSPACE_TRUST_CLIENT_IDS is on: whoever reaches this server reads every workspace by naming it; meant for a migration, \
             behind a network that you trust"
        );
    }
    let shared = Shared::new(
        config.clone(),
        Arc::clone(&parts.verifier),
        parts.limits,
        parts.metrics.app(NAME),
        parts.clock.clone(),
    );
    let site = Arc::new(site::Addresses::new(Arc::clone(&shared), parts.is_alone));
    Served {
        sites: vec![site],
        piers: vec![Arc::new(pier::Entrance(shared))],
        ..Served::default()
    }
}

impl Shared {
    fn new(
        config: Config,
        verifier: Arc<Verifier>,
        limits: Limits,
        metrics: AppMetrics,
        clock: Clock,
    ) -> Arc<Self> {
        metrics.expect(&wire::KINDS, &guest::REFUSALS);
        let now = clock.clone();
        let exchange = Exchange::new(Listed, move || now.now().as_microsecond());
        Arc::new(Self {
            exchange,
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
