//! The lock holder's calls, for a simulator that replaces the lock holder and the database.

use super::*;

impl WatchLocks {
    /// Returns the locks that are wanted and not held, in order.
    pub fn missing_locks(&self) -> Vec<u16> {
        let mut missing: Vec<_> = self
            .shared
            .lock()
            .missing()
            .into_iter()
            .filter_map(|lock| u16::try_from(lock).ok())
            .collect();
        missing.sort_unstable();
        missing
    }

    /// Marks a lock as held. Returns the keys whose writers notify from now on, in order.
    pub fn mark_held(&self, lock: u16) -> Vec<Topic> {
        let mut enabled = self
            .shared
            .lock()
            .mark_held(i32::from(lock), latido_base::clock::monotonic_now());
        enabled.sort();
        enabled
    }

    /// Takes the idle locks, which must be released.
    pub fn take_idle(&self) -> Vec<u16> {
        let idle = self
            .shared
            .lock()
            .take_idle(latido_base::clock::monotonic_now());
        idle.into_iter()
            .filter_map(|lock| u16::try_from(lock).ok())
            .collect()
    }

    /// Sets that a connection can hold locks.
    pub fn set_connected(&self) {
        self.shared.is_connected.send_replace(true);
    }

    /// Sets that the connection is lost, with all its locks.
    pub fn set_disconnected(&self) {
        self.shared.is_connected.send_replace(false);
        self.shared.lock().mark_all_lost();
    }

    /// Returns the two locks of a key.
    pub fn locks_of_key(&self, topic: &Topic) -> [u16; 2] {
        self.lock_pair(topic)
    }
}
