//! A crowd that lets all others go before it.

use std::time::Duration;

/// Connections that are seen to between two breaths.
const EVERY: usize = 32;
/// How long a breath is asked to be; the kernel's timers make 0.1 ms of it.
const LENGTH: Duration = Duration::from_micros(50);

/// Stops for a moment after every few connections. That a process is nice does not do: the scheduler lets even it finish a slice of some
/// milliseconds before those who woke meanwhile.
#[derive(Debug)]
pub(crate) struct Breath {
    is_wanted: bool,
    seen_to: usize,
}

impl Breath {
    /// None is ever taken unless `is_wanted`.
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            seen_to: 0,
        }
    }

    /// One more connection was seen to.
    pub(crate) fn after_one(&mut self) {
        self.seen_to += 1;
        if self.is_wanted && self.seen_to.is_multiple_of(EVERY) {
            std::thread::sleep(LENGTH);
        }
    }
}
