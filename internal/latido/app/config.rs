//! Converts the settings to the configuration of each part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{self, EnabledApp, Settings};
use latido_auth::{ApiKey, PolicyConfig, VerifierConfig};
use latido_demo::Demo;
use latido_engine as engine;
use latido_http as http;
use latido_postgres as postgres;
use latido_session::SessionLimits;
use latido_shard as shard;
use latido_stream::Catalog;

/// The time by which the kernel's limit for an acknowledgement exceeds the limit for slow clients.
const KERNEL_TIMEOUT_MARGIN: Duration = Duration::from_secs(15);

/// The complete configuration of a server.
pub struct Config {
    /// The address to listen on; port 0 selects any free port.
    pub address: SocketAddr,
    /// `true` to let other processes listen on the same port.
    pub reuse_port: bool,
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
    /// The configuration of the HTTP server.
    pub http: http::Config,
    /// The limits of one WebSocket.
    pub limits: SessionLimits,
    /// The configuration of the shards.
    pub shard: shard::Config,
    /// The configuration of the engine.
    pub engine: engine::Config,
    /// The time limit for the shutdown.
    pub shutdown_timeout: Duration,
    /// The apps that are enabled.
    pub apps: Vec<EnabledApp>,
    /// The demo, which adds two routes. `None` outside `latido demo`.
    pub demo: Option<Arc<Demo>>,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Converts settings that were read for serving.
    ///
    /// # Errors
    /// Returns an error if the settings were read for another purpose and the database URL is
    /// missing.
    pub fn new(settings: Settings) -> anyhow::Result<Self> {
        let Settings {
            database,
            auth,
            server,
            limits,
            engine,
            streams,
            apps,
            ..
        } = settings;
        Ok(Self {
            address: SocketAddr::new(server.host, server.port),
            reuse_port: server.reuse_port,
            postgres: database_config(&database)?,
            verifier: auth.verifier,
            policy: auth.policy,
            notify_key: auth.notify_key,
            catalog: Arc::new(Catalog::new(streams)),
            http: http_config(&server, &limits),
            limits: session_limits(&limits),
            shard: shard::Config {
                threads: server.shards,
            },
            engine: engine_config(&engine),
            shutdown_timeout: server.shutdown_timeout,
            apps,
            demo: None,
        })
    }
}

/// Converts the database settings only, for commands that need nothing else.
///
/// # Errors
/// Returns an error if no database is configured.
pub(super) fn database_config(
    database: &config::DatabaseSettings,
) -> anyhow::Result<postgres::Config> {
    let url = database.url.as_ref().context("DATABASE_URL is missing")?;
    Ok(postgres::Config {
        listen_url: database
            .listen_url
            .as_ref()
            .map(|url| url.expose().to_owned()),
        pool_size: database.pool_size,
        statement_timeout: database.statement_timeout,
        interest_gate: database.interest_gate,
        ..postgres::Config::new(url.expose())
    })
}

fn http_config(server: &config::ServerSettings, limits: &config::LimitSettings) -> http::Config {
    http::Config {
        max_connections: limits.max_connections,
        max_connections_per_address: limits.max_connections_per_address,
        max_connections_per_user: limits.max_connections_per_user,
        max_handshakes_per_second: limits.max_handshakes_per_second,
        tls: server.tls.clone(),
        proxies: server.proxies.clone(),
        origins: server.allowed_origins.clone(),
        metrics_enabled: server.metrics_enabled,
        head_timeout: limits.handshake_timeout,
        // The shard must disconnect a slow client before the kernel does, so that it gets a close
        // frame and a reason.
        unacknowledged_timeout: limits.slow_client_timeout + KERNEL_TIMEOUT_MARGIN,
        drain_grace: server.shutdown_timeout,
        ..http::Config::default()
    }
}

fn session_limits(limits: &config::LimitSettings) -> SessionLimits {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let heartbeat_s = seconds(limits.heartbeat_interval);
    SessionLimits {
        message_bytes: u32::try_from(limits.max_message_bytes).unwrap_or(u32::MAX),
        channels: limits.max_channels,
        messages_per_second: limits.messages_per_second,
        message_burst: limits.message_burst,
        heartbeat_s,
        // The client may miss two pings before it counts as gone.
        idle_timeout_s: heartbeat_s.saturating_mul(5) / 2,
        slow_client_s: seconds(limits.slow_client_timeout),
        ..SessionLimits::default()
    }
}

fn engine_config(settings: &config::EngineSettings) -> engine::Config {
    let defaults = engine::Config::default();
    engine::Config {
        pacing: defaults.pacing.with_interval(settings.read_interval),
        sweep: settings.sweep_interval,
        sweep_without_notifications: defaults
            .sweep_without_notifications
            .min(settings.sweep_interval),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, Purpose};

    /// Reads the default settings with one variable changed.
    fn config(name: &str, value: &str) -> Config {
        let fixed = [
            ("DATABASE_URL", "postgresql://u@h/d"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let sources = ConfigSources::from_variables(&[fixed[0], fixed[1], (name, value)]);
        Config::new(Settings::read(&sources, Purpose::Serve).unwrap()).unwrap()
    }

    #[test]
    fn metrics_can_be_disabled() {
        for (value, shown) in [("true", true), ("false", false)] {
            assert_eq!(config("METRICS", value).http.metrics_enabled, shown);
        }
    }

    #[test]
    fn slow_client_is_disconnected_by_the_shard_before_the_kernel() {
        for seconds in ["1", "30", "300"] {
            let config = config("SLOW_CLIENT_SECONDS", seconds);
            assert!(
                config.http.unacknowledged_timeout
                    > Duration::from_secs(config.limits.slow_client_s.into()),
                "{seconds}"
            );
        }
    }
}
