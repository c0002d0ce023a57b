//! The state that the watch locks and their holder share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::lock_table::LockTable;

pub(super) struct WatchLocksShared {
    pub(super) table: Mutex<LockTable>,
    /// The signal that the lock table has a new entry or a lock to release.
    pub(super) wake: Notify,
    /// True if there is a connection that can hold locks.
    pub(super) is_connected: watch::Sender<bool>,
}

impl WatchLocksShared {
    pub(super) fn lock(&self) -> MutexGuard<'_, LockTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
