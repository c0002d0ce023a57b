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

    /// Marks a lock as held. Returns what follows for the engine, with keys in order.
    pub fn mark_held(&self, lock: u16) -> Vec<WatchLockEvent> {
        let now = latido_base::clock::monotonic_now();
        let mut events = self.shared.mark_held(&[i32::from(lock)], now);
        for event in &mut events {
            if let WatchLockEvent::NotificationsEnabled(topics) = event {
                topics.sort();
            }
        }
        events
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

    /// Returns the two locks of a topic's key.
    pub fn locks_of_key(&self, topic: &Topic) -> [u16; 2] {
        self.shared.key_locks(topic).pair
    }

    /// Returns the gate locks of a topic's stream; none if it has no gate.
    pub fn gate_locks(&self, topic: &Topic) -> std::ops::Range<u16> {
        let gate = self.shared.key_locks(topic).gate;
        gate.map_or(0..0, |first| first..first + lock_hash::GATE_SLOTS)
    }
}
