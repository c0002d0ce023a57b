//! The settings of the database connection.

use std::fmt;
use std::time::Duration;

use latido_base::secret::Secret;

use crate::instance::InstanceName;
use crate::url_error::UrlError;

/// The default number of pooled connections.
pub(crate) const POOL_SIZE: usize = 8;
/// The default time limit of a statement.
pub(crate) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// The addresses of the database, and the time-outs of its use. The URLs hold passwords.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address for reads, `postgresql://user:password@host:port/database?sslmode=…`; a
    /// transaction pooler works. `None` if no database is configured.
    pub url: Option<Secret>,
    /// The address for LISTEN and for installing triggers: the same database, reached directly.
    /// `None` means `url`.
    pub listen_url: Option<Secret>,
    /// The largest number of pooled connections for reads, at least 1. The listener's connection is
    /// not included.
    pub pool_size: usize,
    /// The longest time that one statement may run on the server.
    pub statement_timeout: Duration,
    /// The time-out of connecting, for each address of a server; a `connect_timeout` in the URL
    /// overrides it.
    pub connect_timeout: Duration,
    /// True if triggers are installed with the interest gate, so that writers of keys without
    /// viewers send no notification.
    pub interest_gate: bool,
    /// True if the policies of row-level security filter what sessions read. Otherwise a statement
    /// that a policy would filter is an error.
    pub row_security: bool,
    /// The name of the installation whose triggers are installed and inspected.
    pub instance: InstanceName,
    /// True if the pool's sessions refuse to write. Only an app's own pool disables it.
    pub read_only: bool,
    /// The time without use after which all connections are closed until the next use. `None` keeps
    /// them open.
    pub sleep_after: Option<Duration>,
    /// True if every statement runs in a transaction of its own that carries its settings, as behind
    /// a pooler. Then nothing that a statement sets outlives it, not even the right to write.
    pub single_transactions: bool,
    /// The name shown in `pg_stat_activity`; an `application_name` in the URL overrides it.
    pub application_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: None,
            listen_url: None,
            pool_size: POOL_SIZE,
            statement_timeout: STATEMENT_TIMEOUT,
            connect_timeout: Duration::from_secs(3),
            interest_gate: true,
            row_security: false,
            instance: InstanceName::default(),
            read_only: true,
            sleep_after: None,
            single_transactions: false,
            application_name: "latido".to_owned(),
        }
    }
}

impl Config {
    /// Returns the default settings for that database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: Some(Secret::new(url)),
            ..Self::default()
        }
    }
}

/// The setting that a [`ConfigError`] concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlSetting {
    /// The address for reads, [`Config::url`].
    Url,
    /// The address for LISTEN, [`Config::listen_url`].
    ListenUrl,
}

impl fmt::Display for UrlSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url => "DATABASE_URL",
            Self::ListenUrl => "LISTEN_DATABASE_URL",
        })
    }
}

/// A setting that cannot work, regardless of the database's state.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {mistake}")]
pub struct ConfigError {
    /// The setting with the error.
    pub setting: UrlSetting,
    /// The error in the URL; it never holds the URL itself.
    pub mistake: UrlError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_password() {
        let mut config = Config::new("postgresql://u:s3cret@h/db");
        config.listen_url = Some(Secret::new("postgresql://u:s3cret@h2/db"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
