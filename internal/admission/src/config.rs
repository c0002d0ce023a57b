//! The settings of the connection limits.

/// The connection limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The most HTTP requests of one user per second, on average; five times as many may come
    /// at once. Further ones get `429`.
    pub max_requests_per_user: u32,
}

/// The default of [`Config::max_requests_per_user`].
pub const REQUESTS_PER_USER: u32 = 100;
/// The seconds of requests that a user may make at once.
pub(crate) const REQUEST_BURST: u32 = 5;

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_address: None,
            max_connections_per_user: None,
            max_handshakes_per_second: None,
            max_requests_per_user: REQUESTS_PER_USER,
        }
    }
}
