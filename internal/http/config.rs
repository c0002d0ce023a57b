//! The named limits of the HTTP side.

use std::time::Duration;

use crate::http::{Origins, Proxies, TlsFiles};

/// See each field.
#[derive(Debug, Clone)]
pub struct Config {
    /// Open connections in all, WebSockets included. Over it: `503` and goodbye.
    pub max_connections: usize,
    /// Open connections from one address (one /64 of IPv6). None: no limit, as fits a server behind a proxy.
    pub max_connections_per_address: Option<usize>,
    /// Open WebSockets and event streams of one user. Over it: `429`. None: no limit.
    pub max_connections_per_user: Option<usize>,
    /// New connections a second, and as many at once. Over it: `503` and goodbye. None: no limit.
    pub max_handshakes_per_second: Option<u32>,
    /// Certificate and key, of which [`Doors::tls`](crate::http::Doors) is made. None: no TLS.
    pub tls: Option<TlsFiles>,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// Pages that may connect and read answers.
    pub origins: Origins,
    /// From accepting a connection to its first complete request head.
    pub head_timeout: Duration,
    /// From one answer to the next complete request head. Longer than what clients keep a connection for (node: 5 s), so that it is the
    /// client who lets go: a server that closes first would lose the hook that is just being sent.
    pub keep_alive: Duration,
    /// How long sent data may stay unacknowledged before the kernel gives the connection up (Linux).
    pub unacknowledged: Duration,
    /// How long a request may wait for keys, authorisation and a first read.
    pub answer_timeout: Duration,
    /// The hook's deadline, body and read together; its callers give up after 5 s.
    pub hook_timeout: Duration,
    /// Largest hook body, in bytes.
    pub hook_body_bytes: usize,
    /// Hooks per second, on average. Over it: `429`.
    pub hook_per_second: u32,
    /// Hooks at once before the average counts.
    pub hook_burst: u32,
    /// Names under `/notify/` beside those of the streams.
    pub hook_paths: Vec<HookPath>,
    /// Whether `/metrics` is there.
    pub metrics: bool,
    /// How often a silent event stream carries a comment.
    pub event_heartbeat: Duration,
    /// How long requests under way may take once the server stops.
    pub drain_grace: Duration,
}

/// `POST /notify/<path>` concerns `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPath {
    /// The segment behind `/notify/`.
    pub path: String,
    /// The stream's name. A path whose stream does not exist is ignored.
    pub stream: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: None,
            max_connections_per_user: None,
            max_handshakes_per_second: None,
            tls: None,
            proxies: Proxies::default(),
            origins: Origins::Any,
            head_timeout: Duration::from_secs(5),
            keep_alive: Duration::from_secs(75),
            unacknowledged: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(4),
            hook_timeout: Duration::from_secs(4),
            hook_body_bytes: 16 * 1024,
            hook_per_second: 1_000,
            hook_burst: 5_000,
            hook_paths: vec![HookPath {
                path: "cita".into(),
                stream: "estadisticas".into(),
            }],
            metrics: true,
            event_heartbeat: Duration::from_secs(15),
            drain_grace: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hook_answers_before_its_caller_gives_up() {
        assert!(Config::default().hook_timeout < Duration::from_secs(5));
    }

    #[test]
    fn a_slow_handshake_ends_within_what_is_promised() {
        // The head, then the token's verification, then the upgrade.
        let Config {
            head_timeout,
            answer_timeout,
            ..
        } = Config::default();
        assert!(head_timeout + answer_timeout < Duration::from_secs(12));
    }
}
