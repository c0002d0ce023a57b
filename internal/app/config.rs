//! Settings → what each part wants to know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::auth::{ApiKey, PolicyConfig, VerifierConfig};
use crate::config::{self, Settings, WantedApp};
use crate::demo::Demo;
use crate::http::Origins;
use crate::session::Limits;
use crate::stream::Catalog;
use crate::{engine, http, postgres, shard};

/// How much longer than a slow client's patience the kernel waits for an acknowledgement.
const SLOW_MARGIN: Duration = Duration::from_secs(15);

/// Everything that a server is built from.
pub struct Config {
    /// Where to listen; port 0: any that is free.
    pub address: SocketAddr,
    /// Whether other processes may listen there as well.
    pub reuse_port: bool,
    /// The database.
    pub postgres: postgres::Config,
    /// Whose tokens.
    pub verifier: VerifierConfig,
    /// Who may read what.
    pub policy: PolicyConfig,
    /// What the hook's callers must present.
    pub notify_key: Option<ApiKey>,
    /// The streams.
    pub catalog: Arc<Catalog>,
    /// The HTTP side.
    pub http: http::Config,
    /// One WebSocket's limits.
    pub limits: Limits,
    /// The shards.
    pub shard: shard::Config,
    /// The engine.
    pub engine: engine::Config,
    /// How long everything may take to end.
    pub shutdown: Duration,
    /// The apps that are switched on.
    pub apps: Vec<WantedApp>,
    /// The demo behind two more addresses.
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
    /// From settings that were read for serving.
    ///
    /// # Errors
    /// The settings were read for another purpose, so that something is missing.
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
            shutdown: server.shutdown,
            apps,
            demo: None,
        })
    }
}

/// The database's part, for commands that need nothing else.
///
/// # Errors
/// No database is configured.
pub(super) fn database_config(database: &config::Database) -> anyhow::Result<postgres::Config> {
    let url = database.url.as_ref().context("DATABASE_URL is missing")?;
    Ok(postgres::Config {
        listen_url: database
            .listen_url
            .as_ref()
            .map(|url| url.expose().to_owned()),
        pool_size: database.pool_size,
        statement_timeout: database.statement_timeout,
        gate: database.interest_gate,
        ..postgres::Config::new(url.expose())
    })
}

fn http_config(server: &config::Server, limits: &config::Limits) -> http::Config {
    // Checked when it was read; what could not be parsed would let nobody in.
    let origins = server
        .allowed_origins
        .join(",")
        .parse()
        .unwrap_or(Origins::Listed(Vec::new()));
    http::Config {
        max_connections: limits.connections,
        max_connections_per_address: limits.connections_per_address,
        max_connections_per_user: limits.connections_per_user,
        max_handshakes_per_second: limits.handshakes_per_second,
        tls: server.tls.clone(),
        proxies: server.proxies.clone(),
        origins,
        metrics: server.metrics,
        head_timeout: limits.handshake,
        // The kernel must not cut a slow client off before the shard does, with a close frame and a reason.
        unacknowledged: limits.slow_client + SLOW_MARGIN,
        drain_grace: server.shutdown,
        ..http::Config::default()
    }
}

fn session_limits(limits: &config::Limits) -> Limits {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    let heartbeat_s = seconds(limits.heartbeat);
    Limits {
        message_bytes: u32::try_from(limits.message_bytes).unwrap_or(u32::MAX),
        channels: limits.channels,
        messages_per_second: limits.messages_per_second,
        message_burst: limits.message_burst,
        heartbeat_s,
        // Two pings may be lost.
        silence_s: heartbeat_s.saturating_mul(5) / 2,
        behind_s: seconds(limits.slow_client),
        ..Limits::default()
    }
}

fn engine_config(settings: &config::Engine) -> engine::Config {
    let defaults = engine::Config::default();
    engine::Config {
        pace: defaults.pace.with_interval(settings.read_interval),
        sweep: settings.sweep,
        sweep_deaf: defaults.sweep_deaf.min(settings.sweep),
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Purpose, Sources};

    /// The defaults, and one variable.
    fn config(name: &str, value: &str) -> Config {
        let fixed = [
            ("DATABASE_URL", "postgresql://u@h/d"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let sources = Sources::of(&[fixed[0], fixed[1], (name, value)]);
        Config::new(Settings::read(&sources, Purpose::Serve).unwrap()).unwrap()
    }

    #[test]
    fn metrics_may_be_switched_off() {
        for (value, shown) in [("true", true), ("false", false)] {
            assert_eq!(config("METRICS", value).http.metrics, shown);
        }
    }

    #[test]
    fn a_slow_client_is_ended_by_us_and_not_by_the_kernel() {
        for seconds in ["1", "30", "300"] {
            let config = config("SLOW_CLIENT_SECONDS", seconds);
            assert!(
                config.http.unacknowledged > Duration::from_secs(config.limits.behind_s.into()),
                "{seconds}"
            );
        }
    }
}
