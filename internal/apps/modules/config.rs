//! What the app must be told.

use std::time::Duration;

use crate::auth::{ApiKey, Secret, VerifierConfig};
use crate::postgres::apps::modules::SESSION_SQL;

/// Settings of the modules' app.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose tokens, where they are not those of the streams.
    pub verifier: Option<VerifierConfig>,
    /// Secrets that sign the session cookie: the one in use, and those before. None: no cookie identifies anybody.
    pub session_secrets: Vec<Secret>,
    /// The cookie's name.
    pub session_cookie: String,
    /// `$1` a session's id → `user_id`, `is_admin`, `nickname`.
    pub session_sql: String,
    /// How long an answer about a session counts, for new connections and for those that are open.
    pub session_ttl: Duration,
    /// Pages of other hosts that may use the cookie, as a browser writes their origin.
    pub origins: Vec<String>,
    /// Roles of a token that make an administrator.
    pub admin_roles: Vec<String>,
    /// What callers of the emit API must present. None: nobody may call it.
    pub api_key: Option<ApiKey>,
    /// Believe web clients and modules without any proof. For a closed network alone.
    pub trust_clients: bool,
    /// How long news of one kind about one module are gathered, after the first. Zero: not at all.
    pub group: Duration,
    /// How long a silent module counts as online.
    pub stale: Duration,
    /// IANA name of the zone in which people read when a module was last seen.
    pub time_zone: String,
    /// Most modules that are kept in mind.
    pub modules: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verifier: None,
            session_secrets: Vec::new(),
            session_cookie: "connect.sid".to_owned(),
            session_sql: SESSION_SQL.to_owned(),
            session_ttl: Duration::from_secs(30),
            origins: Vec::new(),
            admin_roles: vec!["admin".to_owned()],
            api_key: None,
            trust_clients: false,
            group: Duration::from_millis(500),
            stale: Duration::from_secs(300),
            time_zone: "UTC".to_owned(),
            modules: 100_000,
        }
    }
}
