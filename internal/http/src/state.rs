//! The state that the routes share with the rest of the server.

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::response::BoxedRoutes;
use crate::static_files::StaticFile;
use crate::tls::Tls;
use latido_admin::{Admin, Readiness, Reload};
use latido_admission::UpgradeRules;
use latido_auth::{ApiKey, Policy, Verifier};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_engine::Engine;
use latido_hub::Hub;
use latido_session::SharedLimits;
use latido_shard::Shards;
use latido_stream::{Catalog, ColumnSource};
use latido_telemetry::Metrics;

/// The state of one server, shared by all of its listeners.
pub struct ServerState {
    /// The named limits of the HTTP side.
    pub config: Config,
    /// The limits of one client, of which event streams of several channels need one.
    pub session_limits: SharedLimits,
    /// The rules by which clients are admitted, with the connection limits.
    pub rules: Arc<UpgradeRules>,
    /// The certificate, if the server terminates TLS itself. Its creator must also start
    /// [reloading](Tls::start_reload) it.
    pub tls: Option<Tls>,
    /// The configured streams, by name.
    pub catalog: Arc<Catalog>,
    /// Verifies tokens into principals.
    pub verifier: Arc<Verifier>,
    /// Decides which channels a principal may read.
    pub policy: Arc<Policy>,
    /// The key that hook requests must present. With `None`, anyone may send hints.
    pub hook_key: Option<ApiKey>,
    /// Receives the hook's hints and reads the database.
    pub engine: Engine,
    /// Holds the latest frame of each topic.
    pub hub: Arc<Hub>,
    /// The shards, which take over upgraded WebSockets.
    pub shards: Arc<Shards>,
    /// The metrics counted here and exported at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The operations behind the `/dashboard` addresses.
    pub admin: Arc<Admin>,
    /// Reads the configuration again. `None` if the server has none that could change.
    pub reload: Option<Arc<dyn Reload>>,
    /// The readiness check that `/ready` runs.
    pub readiness: Arc<dyn Readiness>,
    /// The source of column types for `/openapi.json` and `/asyncapi.json`.
    pub column_source: Arc<dyn ColumnSource>,
    /// The wall clock for token expiry and `/health`.
    pub clock: Clock,
    /// The stop signal, which also counts the open connections.
    pub drain: Drain,
    /// The static files of the embedded page.
    pub assets: &'static [StaticFile],
    /// The demo's routes, if this is one; see [`BoxedRoutes`].
    pub extra_routes: Option<BoxedRoutes>,
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
