//! The configuration of the modules app.

use std::time::Duration;

use crate::database::SESSION_SQL;
use latido_auth::{ApiKey, Secret, VerifierConfig};

/// The default name of the session cookie.
pub(super) const SESSION_COOKIE: &str = "connect.sid";
/// The default time for which a session look-up stays valid.
pub(super) const SESSION_TTL: Duration = Duration::from_secs(30);
/// The default role of administrators.
pub(super) const ADMIN_ROLE: &str = "admin";
/// The default window in which events are throttled.
pub(super) const THROTTLE_WINDOW: Duration = Duration::from_millis(500);
/// The default time after which a silent module counts as offline.
pub(super) const OFFLINE_AFTER: Duration = Duration::from_secs(300);

/// The app's name in `LATIDO_APPS`.
pub(crate) const NAME: &str = "modules";

/// The settings of the modules app, with defaults.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The token verifier of this app, or `None` to use the one of the streams.
    pub verifier: Option<VerifierConfig>,
    /// The secrets that sign the session cookie: the current one first, then older ones. If empty,
    /// no cookie identifies a client.
    pub session_secrets: Vec<Secret>,
    /// The name of the session cookie.
    pub session_cookie: String,
    /// The query that maps a session id (`$1`) to `user_id`, `is_admin`, `nickname`.
    pub session_sql: String,
    /// The time for which a session look-up stays valid, for new and for open connections.
    pub session_ttl: Duration,
    /// The origins of other hosts whose pages may use the cookie, as a browser writes them.
    pub allowed_origins: Vec<String>,
    /// The token roles that make a user an administrator.
    pub admin_roles: Vec<String>,
    /// The key for the emit API. With `None` every call is rejected.
    pub api_key: Option<ApiKey>,
    /// Accepts web clients and devices without any proof. For closed networks only.
    pub trust_clients: bool,
    /// The window in which events of one kind about one module are throttled after the first. Zero
    /// disables throttling.
    pub throttle_window: Duration,
    /// The time after which a silent module counts as offline.
    pub offline_after: Duration,
    /// The IANA name of the time zone of `lastSeenFormatted`.
    pub time_zone: String,
    /// The largest number of modules to keep in memory.
    pub max_modules: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verifier: None,
            session_secrets: Vec::new(),
            session_cookie: SESSION_COOKIE.to_owned(),
            session_sql: SESSION_SQL.to_owned(),
            session_ttl: SESSION_TTL,
            allowed_origins: Vec::new(),
            admin_roles: vec![ADMIN_ROLE.to_owned()],
            api_key: None,
            trust_clients: false,
            throttle_window: THROTTLE_WINDOW,
            offline_after: OFFLINE_AFTER,
            time_zone: "UTC".to_owned(),
            max_modules: 100_000,
        }
    }
}
