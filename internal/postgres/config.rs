//! What the database part needs to be told.

use std::fmt;
use std::time::Duration;

use crate::postgres::url::UrlError;

/// How to reach the database, and how long to wait for it.
#[derive(Clone)]
pub struct Config {
    /// `postgresql://user:password@host:port/database?sslmode=…`; a transaction pooler will do.
    pub url: String,
    /// Where to LISTEN and to install: the same database, reached directly. None: `url`.
    pub listen_url: Option<String>,
    /// Most connections that reads may hold at once, the listener's not counted; at least 1.
    pub pool_size: usize,
    /// Longest time that one statement may run on the server.
    pub statement_timeout: Duration,
    /// Longest time to reach a server, for each address it has; a `connect_timeout` in the URL wins.
    pub connect_timeout: Duration,
    /// Whether triggers are installed so that writers of keys that nobody watches send nothing.
    pub gate: bool,
    /// Whether the pool's sessions refuse to write. Off only for what an app keeps.
    pub read_only: bool,
    /// Shown in `pg_stat_activity`; an `application_name` in the URL wins.
    pub application_name: String,
}

impl Config {
    /// The defaults, for that database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            pool_size: 8,
            statement_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            gate: true,
            read_only: true,
            application_name: "latido".to_owned(),
        }
    }
}

/// URLs hold passwords.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &"…")
            .field("listen_url", &self.listen_url.as_ref().map(|_| "…"))
            .field("pool_size", &self.pool_size)
            .field("statement_timeout", &self.statement_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("application_name", &self.application_name)
            .finish()
    }
}

/// Which setting is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// [`Config::url`].
    Url,
    /// [`Config::listen_url`].
    ListenUrl,
}

/// A setting that cannot work, whatever the database says.
#[derive(Debug, thiserror::Error)]
#[error("{mistake}")]
pub struct ConfigError {
    /// The one that is wrong.
    pub setting: Setting,
    /// What is wrong with it; never holds the URL itself.
    pub mistake: UrlError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let mut config = Config::new("postgresql://u:s3cret@h/db");
        config.listen_url = Some("postgresql://u:s3cret@h2/db".to_owned());
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
