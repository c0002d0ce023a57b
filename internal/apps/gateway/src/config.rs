//! The gateway's settings and limits.

use std::time::Duration;

use latido_auth::ApiKey;
use latido_net::Networks;

/// The default time limit of one API request.
pub(super) const API_TIMEOUT: Duration = Duration::from_secs(10);
/// The default time for which a token that the API accepted stays cached.
pub(super) const API_CACHE_TTL: Duration = Duration::from_secs(60);
/// The default inactivity, in minutes, after which the server disconnects a client.
pub(super) const INACTIVITY_MINUTES: u64 = 60;

/// The settings of the gateway app.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The Django API's address without a path, such as `http://localhost:8000`. `None` only if
    /// clients are trusted.
    pub api_url: Option<String>,
    /// Set if profiles are requested with POST, which older APIs require.
    pub api_uses_post: bool,
    /// The time limit of one API request.
    pub api_timeout: Duration,
    /// The time for which a token that the API accepted stays cached.
    pub api_cache_ttl: Duration,
    /// The ids of the users who may be administrators, since the API knows no such role.
    pub admin_ids: Vec<String>,
    /// The key that publishers and readers of the dashboard present.
    pub api_key: Option<ApiKey>,
    /// The networks whose requests need no key. A wrong key is refused there, too.
    pub trusted_networks: Networks,
    /// Set if the identity that a client claims is accepted unchecked, except the administrator
    /// role.
    pub trusts_clients: bool,
    /// The time limit from a socket's connection to its authentication.
    pub auth_deadline: Duration,
    /// The number of failed authentication attempts after which the server closes a socket.
    pub max_auth_attempts: u32,
    /// The inactivity after which the server disconnects a client. `None` disables the limit.
    pub inactivity_limit: Option<Duration>,
    /// The interval between two checks for inactive clients.
    pub cleanup_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            api_url: None,
            api_uses_post: false,
            api_timeout: API_TIMEOUT,
            api_cache_ttl: API_CACHE_TTL,
            admin_ids: Vec::new(),
            api_key: None,
            trusted_networks: Networks::default(),
            trusts_clients: false,
            auth_deadline: Duration::from_secs(10),
            max_auth_attempts: 5,
            inactivity_limit: Some(Duration::from_secs(INACTIVITY_MINUTES * 60)),
            cleanup_interval: Duration::from_secs(5 * 60),
        }
    }
}
