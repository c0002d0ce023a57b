//! The named limits of the HTTP side.

use std::sync::Arc;
use std::time::Duration;

use crate::command_hints::CommandHints;
use crate::rlimit::max_connections;
use crate::tls::TlsFiles;
use latido_admission::{self as admission, ConnectionLimits, TrustedProxies, UpgradeRules};
use latido_auth::Verifier;
use latido_base::drain::Drain;
use latido_net::Origins;
use latido_session::SessionLimits;
use latido_stream::Catalog;

/// The default time from accepting a connection to its first complete request head.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The default time that requests in progress get once the server stops.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// The time by which the kernel's limit for an acknowledgement exceeds the limit for slow clients:
/// the shard must disconnect a slow client first, so that it gets a close frame and a reason.
const KERNEL_TIMEOUT_MARGIN: Duration = Duration::from_secs(15);

/// The HTTP limits; each field documents its own.
#[derive(Debug, Clone)]
pub struct Config {
    /// The most open connections in all, WebSockets included. Further ones get `503` and are
    /// closed.
    pub max_connections: usize,
    /// The most open connections from one address (one /64 of IPv6). `None` means no limit, as fits
    /// a server behind a proxy.
    pub max_connections_per_address: Option<usize>,
    /// The most open WebSockets and event streams of one user. Further ones get `429`. `None` means
    /// no limit.
    pub max_connections_per_user: Option<usize>,
    /// The most new connections per second, also as a burst. Further ones get `503` and are closed.
    /// `None` means no limit.
    pub max_handshakes_per_second: Option<u32>,
    /// The most requests for snapshots and event streams of one user per second, on average.
    /// Further ones get `429`.
    pub max_requests_per_user: u32,
    /// The files of [`ServerState::tls`](crate::ServerState). `None` means no TLS.
    pub tls: Option<TlsFiles>,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub proxies: TrustedProxies,
    /// The origins whose pages may connect and read responses.
    pub origins: Origins,
    /// The origins whose pages may also use the cookies of the listener's apps.
    pub cookie_origins: Vec<String>,
    /// The time from accepting a connection to its first complete request head.
    pub head_timeout: Duration,
    /// The time from one response to the next complete request head. It is longer than clients keep
    /// a connection (node: 5 s), so that the client closes first: a server that closes first would
    /// lose a hook that is just being sent.
    pub keep_alive: Duration,
    /// The time sent data may stay unacknowledged before the kernel drops the connection (Linux).
    pub unacknowledged_timeout: Duration,
    /// The time a request may wait for keys, authorisation and a first read.
    pub answer_timeout: Duration,
    /// The hook's deadline, for body and read together; its clients time out after 5 s.
    pub hook_timeout: Duration,
    /// The time in which the body of a request to an app must arrive.
    pub app_body_timeout: Duration,
    /// The largest hook body, in bytes.
    pub hook_body_bytes: usize,
    /// The average rate of hooks, per second. Further ones get `429`.
    pub hook_per_second: u32,
    /// The burst of hooks allowed above the average rate.
    pub hook_burst: u32,
    /// Additional names under `/notify/`, beside those of the streams.
    pub hook_paths: Vec<HookPath>,
    /// True if `/metrics` is served; otherwise it is a 404.
    pub metrics_enabled: bool,
    /// The place where the commands run that the pages name.
    pub command_hints: CommandHints,
    /// The interval of comments in an idle event stream.
    pub event_heartbeat: Duration,
    /// The time that requests in progress get once the server stops.
    pub drain_grace: Duration,
}

/// An additional hook address: `POST /notify/<path>` concerns `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPath {
    /// The path segment behind `/notify/`.
    pub path: String,
    /// The stream's name. A path whose stream does not exist is ignored.
    pub stream: String,
}

impl Config {
    /// Builds the rules by which a server with these settings admits clients.
    pub fn upgrade_rules(
        &self,
        catalog: &Arc<Catalog>,
        verifier: &Arc<Verifier>,
        drain: &Drain,
    ) -> UpgradeRules {
        UpgradeRules {
            origins: self.origins.clone(),
            proxies: self.proxies.clone(),
            limits: ConnectionLimits::new(&self.limits()),
            catalog: Arc::clone(catalog),
            verifier: Arc::clone(verifier),
            drain: drain.clone(),
        }
    }

    /// Returns the settings of a mounted service, whose clients may use cookies. The pages that may
    /// use them may also connect.
    pub(super) fn for_mount(&self) -> Self {
        Self {
            origins: self.origins.with(&self.cookie_origins),
            ..self.clone()
        }
    }

    /// Returns the connection limits among these settings.
    pub(super) fn limits(&self) -> admission::Config {
        admission::Config {
            max_connections: self.max_connections,
            max_connections_per_address: self.max_connections_per_address,
            max_connections_per_user: self.max_connections_per_user,
            max_handshakes_per_second: self.max_handshakes_per_second,
            max_requests_per_user: self.max_requests_per_user,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: max_connections(),
            max_connections_per_address: None,
            max_connections_per_user: None,
            max_handshakes_per_second: None,
            max_requests_per_user: admission::REQUESTS_PER_USER,
            tls: None,
            proxies: TrustedProxies::default(),
            origins: Origins::Any,
            cookie_origins: Vec::new(),
            head_timeout: HEAD_TIMEOUT,
            keep_alive: Duration::from_secs(75),
            unacknowledged_timeout: unacknowledged_timeout(&SessionLimits::default()),
            answer_timeout: Duration::from_secs(4),
            hook_timeout: Duration::from_secs(4),
            app_body_timeout: Duration::from_secs(4),
            hook_body_bytes: 16 * 1024,
            hook_per_second: 1_000,
            hook_burst: 5_000,
            hook_paths: vec![HookPath {
                path: "cita".into(),
                stream: "estadisticas".into(),
            }],
            metrics_enabled: true,
            command_hints: CommandHints::default(),
            event_heartbeat: Duration::from_secs(15),
            drain_grace: DRAIN_GRACE,
        }
    }
}

/// Returns the time after which the kernel drops a connection that acknowledges nothing.
pub(crate) fn unacknowledged_timeout(limits: &SessionLimits) -> Duration {
    Duration::from_secs(limits.slow_client_s.into()) + KERNEL_TIMEOUT_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_deadline_is_shorter_than_its_clients_timeout() {
        assert!(Config::default().hook_timeout < Duration::from_secs(5));
    }

    #[test]
    fn slow_handshake_ends_within_the_documented_time() {
        // The head, then the token's verification, then the upgrade.
        let Config {
            head_timeout,
            answer_timeout,
            ..
        } = Config::default();
        assert!(head_timeout + answer_timeout < Duration::from_secs(12));
    }
}
