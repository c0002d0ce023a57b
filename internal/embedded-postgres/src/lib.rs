//! A private PostgreSQL server that this process starts and stops: for a first run without a
//! database, and for the tests.
//!
//! It is a *real* server, found on the machine or downloaded once from a package registry, so it
//! behaves as in production. Everything here blocks and uses no async runtime: async code must go
//! through `spawn_blocking`. With a `DATABASE_URL` this module is not used.
//!
//! Invariants that hold however the process ends:
//!
//! - **No orphan.** A shell that holds the read end of a pipe (`watchdog`) stops the server when
//!   the pipe closes. It inherits the lock too, so no other process starts on the same directory
//!   before it is done.
//! - **No other local user.** The socket lives in a directory of mode 0700 owned by the server's
//!   user, and there is no TCP. That is why `trust` authentication is safe. TCP is allowed on a
//!   temporary cluster only.
//! - **No root.** PostgreSQL refuses to run as root, so root drops to `postgres`, else `nobody`.
//! - **No leftovers.** A temporary cluster leaves nothing but the cached template it was copied
//!   from.
//!
//! Deliberately absent: SQL (the user of this module owns a client), `PR_SET_PDEATHSIG` (it follows
//! the spawning *thread*, and threads of a pool end), `pg_ctl`, and any TCP port chosen by this
//! module for persistent data.

mod binaries;
mod cluster;
mod data_dir;
mod download;
mod error;
mod file_lock;
mod os_user;
mod process;
mod server;
mod settings;
mod socket_dir;
mod stale_server;
mod template;
mod watchdog;

pub use cluster::Cluster;
pub use error::EmbeddedError;
pub use settings::{
    EmbeddedSettings, ServerSearch, StorageMode, default_cache_dir, default_state_dir,
};
