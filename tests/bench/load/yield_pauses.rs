//! Pauses with which the load yields the processor to other processes.

use std::time::Duration;

/// The number of connections that are handled between two pauses.
const CONNECTIONS_PER_PAUSE: usize = 32;
/// The requested length of a pause. The kernel's timers extend it to 0.1 ms.
const PAUSE_LENGTH: Duration = Duration::from_micros(50);

/// A counter that pauses after every few connections. A nice value is not enough: the scheduler
/// lets even such a process finish a slice of some milliseconds before processes that woke up
/// meanwhile.
#[derive(Debug)]
pub(crate) struct YieldPauses {
    is_enabled: bool,
    handled: usize,
}

impl YieldPauses {
    /// Creates a counter that never pauses unless `is_wanted` is set.
    pub(crate) fn new(is_enabled: bool) -> Self {
        Self {
            is_enabled,
            handled: 0,
        }
    }

    /// Counts one handled connection and pauses if it is time.
    pub(crate) fn after_connection(&mut self) {
        self.handled += 1;
        if self.is_enabled && self.handled.is_multiple_of(CONNECTIONS_PER_PAUSE) {
            std::thread::sleep(PAUSE_LENGTH);
        }
    }
}
