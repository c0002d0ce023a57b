//! What the server lends to an app, and what the app gives to the server.

use std::fmt;
use std::sync::Arc;

use latido_auth::{Policy, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::Engine;
use latido_http::{HttpApp, WebSocketApp};
use latido_hub::Hub;
use latido_postgres::Database;
use latido_session::SessionLimits;
#[cfg(feature = "socketio")]
use latido_socketio::SocketIoApp;
use latido_stream::Catalog;
use latido_telemetry::Metrics;

use crate::NotificationHandler;

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
    /// Set if the app has a dedicated listener, which serves no other app.
    pub is_dedicated: bool,
}

/// The endpoints of a running app.
#[derive(Default)]
pub struct AppServices {
    /// The HTTP routes of the app.
    pub http_apps: Vec<Arc<dyn HttpApp>>,
    /// The WebSocket endpoints of the app.
    pub websocket_apps: Vec<Arc<dyn WebSocketApp>>,
    /// The Socket.IO namespaces of the app.
    #[cfg(feature = "socketio")]
    pub socketio_apps: Vec<Arc<dyn SocketIoApp>>,
    /// The origins whose pages may use the app's cookies, beside those of the same host.
    pub cookie_origins: Vec<String>,
    /// The receiver of notifications from the database.
    pub notifications: Option<Arc<dyn NotificationHandler>>,
}

impl fmt::Debug for AppServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppServices").finish_non_exhaustive()
    }
}
