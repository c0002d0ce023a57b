//! Pauses with which the load yields the processor to other processes.

use std::time::Duration;

/// The number of connections that are handled between two pauses.
const EVERY: usize = 32;
/// The requested length of a pause. The kernel's timers extend it to 0.1 ms.
const LENGTH: Duration = Duration::from_micros(50);

/// A counter that pauses after every few connections. A nice value is not enough: the scheduler
/// lets even such a process finish a slice of some milliseconds before processes that woke up
/// meanwhile.
#[derive(Debug)]
pub(crate) struct Breath {
    is_wanted: bool,
    seen_to: usize,
}

impl Breath {
    /// Creates a counter that never pauses unless `is_wanted` is set.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            seen_to: 0,
        }
    }

    /// Counts one handled connection and pauses if it is time.
    pub(crate) fn after_one(&mut self) {
        self.seen_to += 1;
        if self.is_wanted && self.seen_to.is_multiple_of(EVERY) {
            std::thread::sleep(LENGTH);
        }
    }
}
