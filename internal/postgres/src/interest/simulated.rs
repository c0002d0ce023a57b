//! The lock holder's calls, for a simulator that replaces the lock holder and the database.

use super::*;

impl Interest {
    /// Returns the locks that are wanted and not held, in order.
    pub fn missing(&self) -> Vec<u16> {
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
    pub fn took(&self, lock: u16) -> Vec<Topic> {
        let mut enabled = self
            .shared
            .lock()
            .held(i32::from(lock), latido_base::clock::monotonic_now());
        enabled.sort();
        enabled
    }

    /// Takes the idle locks, which must be released.
    pub fn idle(&self) -> Vec<u16> {
        let idle = self.shared.lock().take_idle(latido_base::clock::monotonic_now());
        idle.into_iter()
            .filter_map(|lock| u16::try_from(lock).ok())
            .collect()
    }

    /// Sets that a connection can hold locks.
    pub fn connected(&self) {
        self.shared.up.send_replace(true);
    }

    /// Sets that the connection is lost, with all its locks.
    pub fn disconnected(&self) {
        self.shared.up.send_replace(false);
        self.shared.lock().lost();
    }

    /// Returns the two locks of a key.
    pub fn locks_of(&self, topic: &Topic) -> [u16; 2] {
        self.locks(topic)
    }
}
