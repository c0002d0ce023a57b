//! The other systems that are served beside the streams, one folder each.
//!
//! An app knows the hub's exchange, a dialect ([`crate::shard::Guest`]) and its addresses ([`crate::http::Site`], [`crate::http::Pier`]);
//! nothing knows an app but the wiring. Each is off unless it is named in `LATIDO_APPS` or has a table `[apps.NAME]`.

pub mod gateway;
pub mod messaging;
pub mod modules;
pub mod workspace;

use std::sync::Arc;

use crate::auth::{Policy, Verifier};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::engine::Engine;
use crate::http::{Pier, Site};
use crate::hub::Hub;
use crate::postgres::Database;
use crate::session::Limits;
use crate::socketio::Dialect;
use crate::stream::Catalog;
use crate::telemetry::Metrics;

/// Every app there is.
pub const NAMES: [&str; 4] = ["workspace", "gateway", "messaging", "modules"];

/// What an app may work with. Its exchange is its own to make.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The wall clock.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// For whatever runs as long as the server; connections are drained before.
    pub drain: Drain,
    /// The server's database, which need not answer yet.
    pub database: Database,
    /// Who a token says is there.
    pub verifier: Arc<Verifier>,
    /// What they may read of the streams.
    pub policy: Arc<Policy>,
    /// The streams.
    pub catalog: Arc<Catalog>,
    /// Their numbers.
    pub hub: Arc<Hub>,
    /// Where hints about them go.
    pub engine: Engine,
    /// Those of every WebSocket; an app may give its guests others.
    pub limits: Limits,
    /// Where the messaging app is told what was heard from the database.
    pub messaging_hints: messaging::Hints,
    /// Whether the app has a listener without the server's other apps.
    pub is_alone: bool,
}

/// What an app serves.
#[derive(Default)]
pub struct Served {
    /// Its addresses.
    pub sites: Vec<Arc<dyn Site>>,
    /// Its WebSockets.
    pub piers: Vec<Arc<dyn Pier>>,
    /// Its Socket.IO.
    pub dialects: Vec<Arc<dyn Dialect>>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").finish_non_exhaustive()
    }
}

/// An app that is switched on, with its settings.
#[derive(Debug, Clone)]
pub enum Setting {
    /// Rooms for a Django API.
    Gateway(Box<gateway::Config>),
    /// Messaging over Phoenix Channels.
    Messaging(Box<messaging::Config>),
    /// See [`workspace`].
    Workspace(workspace::Config),
    /// Modules, their owners' pages and their administrators'.
    Modules(Box<modules::Config>),
}

impl Setting {
    /// One of [`NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Messaging(_) => messaging::NAME,
            Self::Workspace(_) => workspace::NAME,
            Self::Modules(_) => modules::NAME,
        }
    }
}
