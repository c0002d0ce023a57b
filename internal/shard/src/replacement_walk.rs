//! The progress of the walk over the clients after streams were replaced.

use std::time::Duration;

/// The pause while the queue of permission checks has too little room for the next client.
const PAUSE: Duration = Duration::from_millis(20);

/// The progress of a walk over the clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplacementWalk {
    /// The slot of the next client.
    pub(super) next_slot: u32,
    /// True if the next client must wait for room in the queue.
    pub(super) is_paused: bool,
}

impl ReplacementWalk {
    /// Returns the time until the walk goes on.
    pub(super) fn next_in(self) -> Duration {
        match self.is_paused {
            true => PAUSE,
            false => Duration::ZERO,
        }
    }
}
