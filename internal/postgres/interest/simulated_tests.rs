//! The keeper's side of the declarations, for a simulator that plays the keeper and the database.

use super::*;

impl Interest {
    /// Locks that are wanted and not held, in order.
    pub(crate) fn missing(&self) -> Vec<u16> {
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

    /// A lock was taken; the keys that are armed by it, in order.
    pub(crate) fn took(&self, lock: u16) -> Vec<Topic> {
        let mut armed = self
            .shared
            .lock()
            .held(i32::from(lock), crate::clock::instant());
        armed.sort();
        armed
    }

    /// Locks that are to be given back.
    pub(crate) fn idle(&self) -> Vec<u16> {
        let idle = self.shared.lock().take_idle(crate::clock::instant());
        idle.into_iter()
            .filter_map(|lock| u16::try_from(lock).ok())
            .collect()
    }

    /// There is a connection to hold locks on.
    pub(crate) fn connected(&self) {
        self.shared.up.send_replace(true);
    }

    /// It is gone, and was seen to be.
    pub(crate) fn disconnected(&self) {
        self.shared.up.send_replace(false);
        self.shared.lock().lost();
    }

    /// The two locks of a key.
    pub(crate) fn locks_of(&self, topic: &Topic) -> [u16; 2] {
        self.locks(topic)
    }
}
