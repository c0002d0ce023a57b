//! The watch locks, or interest gate: writers of keys without viewers send no notification.
//!
//! A committing NOTIFY takes a lock of the whole server across its flush, so a writer should not
//! notify without need. Each key has two advisory locks, one in each half of a hash with 1,024
//! buckets per half. A server holds *both* as *shared* locks for every key that it watches. A
//! writer's trigger *tries* the *exclusive* lock of the first half and, if that is refused, of the
//! second. If it gets either, no server watches the key, so it sends nothing, and it keeps the lock
//! to the end of its transaction. If both are refused, it notifies. Triggers for rows and triggers
//! for statements (`triggers/row.sql`, `triggers/gate.sql`) follow the same protocol; the former
//! try the first lock before they check what changed.
//!
//! A server counts a key as watched only once it holds both locks, and reads after that. By then
//! every silent writer has ended and its changes are visible, because PostgreSQL makes a commit
//! visible before it releases its locks. No writer can become silent any more. A writer never
//! waits, so no deadlock is possible. A key that shares a lock with a watched key, or with a silent
//! writer, costs a needless notification only if its other lock is shared as well: with 100 watched
//! keys this affects 1 writer in 100 instead of 1 in 10. When the connection is lost, the locks are
//! lost too: they are taken again, and then everything is read again.
//!
//! A stream whose triggers look keys up in other tables also has a *gate*: 64 locks, which a server
//! holds while it watches any key of the stream. A writer's trigger tries one of them before it looks
//! anything up. There are many because a silent writer keeps the one that it got, and with one lock
//! all other writers would look up for nothing meanwhile. A key of such a stream counts as watched
//! once its own locks and all gate locks are held.
//!
//! While the server's notification queue is half full, no locks are held: then every writer is
//! silent, so that no commit can fail because of a notification. The sweep finds the changes.
//!
//! The locks are session locks, so the connection must be a direct one. They are only requested
//! while the listener has proven that.

mod lock_hash;
mod lock_holder;
mod lock_table;
mod shared;

use std::sync::Arc;

use tokio::sync::watch;

use crate::{Database, NotificationListener};
use latido_base::clock::monotonic_now;
use latido_base::drain::Drain;
use latido_base::ident::Topic;
use latido_stream::{Catalog, Interest, NotifyState, WatchLockEvent};
use latido_telemetry::Metrics;

pub(crate) use lock_hash::{
    first_gate_lock, hash_parts_sql, hash_sql, max_locks, probe_sql, try_first_sql, try_gate_sql,
    try_second_sql,
};
use shared::WatchLocksShared;

/// The declaration of watched keys through advisory locks. Clones share it.
#[derive(Clone)]
pub struct WatchLocks {
    shared: Arc<WatchLocksShared>,
}

impl WatchLocks {
    /// Creates an empty declaration; nothing is locked before [`WatchLocks::start`].
    pub fn new(catalog: &Catalog) -> Self {
        Self {
            shared: Arc::new(WatchLocksShared::new(catalog)),
        }
    }

    /// Adds the streams that the catalog has beyond those known here. Must be called before one of
    /// them is listed.
    pub fn add_streams(&self, catalog: &Catalog) {
        self.shared.add_streams(catalog);
    }

    /// Takes and releases locks until the server stops, while the listener proves that the
    /// connection to the database is a direct one and that the notification queue has room. One
    /// task calls `sink`; it must not block.
    pub fn start<S>(
        &self,
        database: &Database,
        listener: &NotificationListener,
        metrics: &Arc<Metrics>,
        drain: &Drain,
        sink: S,
    ) where
        S: Fn(WatchLockEvent) + Send + Sync + 'static,
    {
        let holder = lock_holder::LockHolder {
            shared: Arc::clone(&self.shared),
            database: database.clone(),
            listener_state: listener.watch_state(),
            queue_has_room: listener.watch_queue(),
            metrics: Arc::clone(metrics),
            sink: Box::new(sink),
        };
        drain.spawn_until_stop(holder.run());
    }

    /// Returns a receiver of whether locks can be held at the moment.
    pub fn watch_state(&self) -> watch::Receiver<bool> {
        self.shared.is_connected.subscribe()
    }
}

impl Interest for WatchLocks {
    fn watch(&self, topic: &Topic) -> NotifyState {
        let is_held = self.shared.lock().add(self.shared.key_locks(topic), topic);
        if is_held {
            return NotifyState::Enabled;
        }
        self.shared.wake.notify_one();
        if *self.shared.is_connected.borrow() {
            NotifyState::Pending
        } else {
            NotifyState::Unknown
        }
    }

    fn unwatch(&self, topic: &Topic) {
        let locks = self.shared.key_locks(topic);
        self.shared.lock().remove(locks, topic, monotonic_now());
        self.shared.wake.notify_one();
    }

    /// Releases the locks of a topic's key that has viewers but is polled on a timer, unless other
    /// keys need both locks. Then nothing has changed and its writers continue to notify.
    fn release_for_polling(&self, topic: &Topic) -> bool {
        let locks = self.shared.key_locks(topic);
        let mut table = self.shared.lock();
        let is_released = table.release_for_polling(locks, topic, monotonic_now());
        drop(table);
        self.shared.wake.notify_one();
        is_released
    }
}

impl std::fmt::Debug for WatchLocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchLocks")
            .field("counts", &self.shared.lock().counts())
            .finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "simulation"))]
#[path = "simulated_lock_holder_tests.rs"]
mod simulated;
