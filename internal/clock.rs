//! The wall clock as an argument, so that midnight and token expiry can be tested at any hour; and the clock that durations are measured by.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Tells the wall-clock time. Durations are measured with [`std::time::Instant`] instead: this clock may jump.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds added to the system's clock. Written by tests alone; relaxed, since nothing else hangs on it.
    offset_s: Arc<AtomicI64>,
}

impl Clock {
    /// The system's own clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Now, in whole seconds since the Unix epoch.
    pub fn unix_s(&self) -> i64 {
        let since = since_epoch();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX) + self.offset_s.load(Ordering::Relaxed)
    }

    /// Now, for calendars; to the microsecond.
    pub fn now(&self) -> Timestamp {
        let since = since_epoch();
        let offset_us = self
            .offset_s
            .load(Ordering::Relaxed)
            .saturating_mul(1_000_000);
        let us = i64::try_from(since.as_micros())
            .unwrap_or(i64::MAX)
            .saturating_add(offset_us);
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }

    /// Moves this clock, and every clone of it, so that it shows `to` now. For tests.
    pub fn set(&self, to: Timestamp) {
        let system = Self::default().unix_s();
        self.offset_s
            .store(to.as_second() - system, Ordering::Relaxed);
    }
}

/// Now, for durations. What the simulator drives asks here: there it is the simulator who says what time it is.
pub fn instant() -> Instant {
    #[cfg(test)]
    if let Some((now, _)) = simulated::now() {
        return now;
    }
    Instant::now()
}

fn since_epoch() -> Duration {
    #[cfg(test)]
    if let Some((_, wall)) = simulated::now() {
        return wall;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Time as a test says it is, for its own thread.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }

    /// What both clocks show on this thread from now on: the one for durations, and the wall's, since the Unix epoch.
    pub(crate) fn set(now: Instant, wall: Duration) {
        NOW.set(Some((now, wall)));
    }

    pub(super) fn now() -> Option<(Instant, Duration)> {
        NOW.get()
    }
}
