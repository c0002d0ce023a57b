//! The applications that this server runs in addition to the streams, one folder each.
//!
//! An app knows the event bus, its protocol handlers ([`latido_shard::ProtocolHandler`]) and its
//! routes ([`latido_http::HttpApp`], [`latido_http::WebSocketApp`]). Only the wiring knows the
//! apps. An app is off unless `LATIDO_APPS` names it or the configuration has a table
//! `[apps.NAME]`.

mod api_keys;
mod hints;
mod ids;
mod json_error;
mod route_pattern;
mod router;

use std::sync::Arc;

pub use api_keys::{ApiKeys, KeyListError};
pub use hints::FeedTrigger;
pub use ids::{id_text, is_id};
pub use json_error::ErrorFormat;
pub use route_pattern::{ParseParam, PathParams, decode_segment};
pub use router::{RouteRequest, Router, public};

use latido_auth::{Policy, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::Engine;
use latido_http::{HttpApp, WebSocketApp};
use latido_hub::Hub;
use latido_postgres::Database;
use latido_session::SessionLimits;
use latido_socketio::SocketIoApp;
use latido_stream::Catalog;
use latido_telemetry::Metrics;

/// The server's services that an app may use. Each app creates its own event bus.
#[derive(Debug, Clone)]
pub struct AppDeps {
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
    pub limits: SessionLimits,
    /// The trigger that forwards database notifications to the messaging app.
    pub messaging_trigger: FeedTrigger,
    /// Set if the app has a dedicated listener, which serves no other app.
    pub is_dedicated: bool,
}

/// The HTTP, WebSocket and Socket.IO endpoints of an app.
#[derive(Default)]
pub struct AppServices {
    /// The HTTP routes of the app.
    pub http_apps: Vec<Arc<dyn HttpApp>>,
    /// The WebSocket endpoints of the app.
    pub websocket_apps: Vec<Arc<dyn WebSocketApp>>,
    /// The Socket.IO namespaces of the app.
    pub socketio_apps: Vec<Arc<dyn SocketIoApp>>,
}

impl std::fmt::Debug for AppServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppServices").finish_non_exhaustive()
    }
}
