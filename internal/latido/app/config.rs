//! The complete configuration of a server.

use std::sync::Arc;
use std::time::Duration;

use crate::app::reload::ReloadSource;
use crate::app::trigger_monitor;
use crate::config::{EnabledApp, FixedFields, Settings};
use latido_auth::{ApiKey, PolicyConfig, VerifierConfig};
#[cfg(feature = "demo")]
use latido_demo::Demo;
use latido_engine as engine;
use latido_http::{self as http, ListenConfig};
use latido_postgres as postgres;
use latido_session::SessionLimits;
use latido_shard as shard;
use latido_stream::Catalog;

/// The complete configuration of a server.
pub struct Config {
    /// The address of the main listener.
    pub listen: ListenConfig,
    /// The connection to the database.
    pub postgres: postgres::Config,
    /// The keys and rules for tokens.
    pub verifier: VerifierConfig,
    /// The administrator roles and the lifetime of cached permissions.
    pub policy: PolicyConfig,
    /// The key that the HTTP hook requires, or `None` if it requires none.
    pub notify_key: Option<ApiKey>,
    /// The streams with their queries.
    pub catalog: Arc<Catalog>,
    /// True if the built-in stream is off where the database lacks its tables.
    pub builtin_is_optional: bool,
    /// The configuration of the HTTP server.
    pub http: http::Config,
    /// The limits of one WebSocket.
    pub limits: SessionLimits,
    /// The configuration of the shards.
    pub shard: shard::Config,
    /// The configuration of the engine.
    pub engine: engine::Config,
    /// The interval at which the triggers are inspected without other events.
    pub trigger_check_interval: Duration,
    /// The time limit for the shutdown.
    pub shutdown_timeout: Duration,
    /// The apps that are enabled.
    pub apps: Vec<EnabledApp>,
    /// The fields of `latido.toml` that count after a restart only.
    pub fixed_fields: FixedFields,
    /// The origin of this configuration. With `None` it cannot be read again.
    pub reload: Option<ReloadSource>,
    /// The demo, which adds two routes. `None` outside `latido demo`.
    #[cfg(feature = "demo")]
    pub demo: Option<Arc<Demo>>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Takes the settings that were read for serving.
    pub fn new(settings: Settings) -> Self {
        let fixed_fields = settings.fixed_fields();
        Self {
            listen: settings.listen,
            // Histories leave most of the pool to reads of changed keys.
            engine: engine::Config {
                history_statements: (settings.postgres.pool_size / 4).clamp(1, 2),
                ..settings.engine
            },
            postgres: settings.postgres,
            verifier: settings.verifier,
            policy: settings.policy,
            notify_key: settings.notify_key,
            catalog: Arc::new(Catalog::new(settings.streams)),
            builtin_is_optional: settings.builtin_is_optional,
            http: settings.http,
            limits: settings.limits,
            shard: settings.shard,
            trigger_check_interval: trigger_monitor::CHECK_INTERVAL,
            shutdown_timeout: settings.shutdown_timeout,
            apps: settings.apps,
            fixed_fields,
            reload: None,
            #[cfg(feature = "demo")]
            demo: None,
        }
    }
}
