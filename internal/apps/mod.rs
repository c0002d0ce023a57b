//! The applications that this server runs in addition to the streams, one folder each.
//!
//! An app knows the event bus, its protocol handlers ([`crate::shard::ProtocolHandler`]) and its
//! routes ([`crate::http::HttpApp`], [`crate::http::WebSocketApp`]). Only the wiring knows the
//! apps. An app is off unless `LATIDO_APPS` names it or the configuration has a table
//! `[apps.NAME]`.

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

/// The names of all apps, as `LATIDO_APPS` accepts them.
pub const NAMES: [&str; 4] = ["workspace", "gateway", "messaging", "modules"];

/// The server's services that an app may use. Each app creates its own event bus.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The wall clock, which tests can set.
    pub clock: Clock,
    /// The server's metrics registry, with labels per app.
    pub metrics: Arc<Metrics>,
    /// The drain for tasks that run as long as the server. Connections are drained before them.
    pub drain: Drain,
    /// The server's database, which may still be unreachable when the app starts.
    pub database: Database,
    /// The verifier that turns an access token into a principal.
    pub verifier: Arc<Verifier>,
    /// The policy that decides which stream keys a principal may read.
    pub policy: Arc<Policy>,
    /// The definitions of all configured streams.
    pub catalog: Arc<Catalog>,
    /// The hub with the latest value of every stream key.
    pub hub: Arc<Hub>,
    /// The engine that receives change hints for the streams.
    pub engine: Engine,
    /// The limits of every WebSocket connection; an app may set its own for its connections.
    pub limits: Limits,
    /// The trigger that forwards database notifications to the messaging app.
    pub messaging_hints: messaging::Hints,
    /// Set if the app has a dedicated listener, which serves no other app.
    pub is_alone: bool,
}

/// The HTTP, WebSocket and Socket.IO endpoints of an app.
#[derive(Default)]
pub struct Served {
    /// The HTTP routes of the app.
    pub sites: Vec<Arc<dyn Site>>,
    /// The WebSocket endpoints of the app.
    pub piers: Vec<Arc<dyn Pier>>,
    /// The Socket.IO namespaces of the app.
    pub dialects: Vec<Arc<dyn Dialect>>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppServices").finish_non_exhaustive()
    }
}

/// An app that is enabled, with its settings.
#[derive(Debug, Clone)]
pub enum Setting {
    /// Rooms over Socket.IO for clients of a Django API.
    Gateway(Box<gateway::Config>),
    /// Messaging over Phoenix Channels, backed by the database.
    Messaging(Box<messaging::Config>),
    /// The workspace app; see [`workspace`].
    Workspace(workspace::Config),
    /// Devices («modules» on the wire), the pages of their owners and those of administrators.
    Modules(Box<modules::Config>),
}

impl Setting {
    /// Returns the app's name, one of [`NAMES`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "gateway",
            Self::Messaging(_) => messaging::NAME,
            Self::Workspace(_) => workspace::NAME,
            Self::Modules(_) => modules::NAME,
        }
    }
}
