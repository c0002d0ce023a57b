//! The two clocks of the server. The wall clock is passed as an argument, so that midnight and
//! token expiry can be tested at any hour. The monotonic clock measures durations.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// The wall clock. It may jump, so durations are measured with [`monotonic_now`] instead.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Seconds added to the system's clock. Only tests write it. Relaxed ordering suffices because
    /// no other data depends on it.
    offset_s: Arc<AtomicI64>,
}

impl Clock {
    /// Returns the system's own clock, without an offset.
    pub fn system() -> Self {
        Self::default()
    }

    /// Returns the current time in whole seconds since the Unix epoch.
    pub fn unix_s(&self) -> i64 {
        let since = since_epoch();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX) + self.offset_s.load(Ordering::Relaxed)
    }

    /// Returns the current time to the microsecond, for calendar calculations.
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

    /// Moves this clock and all its clones so that they show `to` now. For tests.
    pub fn set(&self, to: Timestamp) {
        let system = Self::default().unix_s();
        self.offset_s
            .store(to.as_second() - system, Ordering::Relaxed);
    }
}

/// Returns the current time for measuring durations. Code that the simulator drives must call this
/// function, because the simulator replaces its result.
pub fn monotonic_now() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some((now, _)) = simulated::now() {
        return now;
    }
    Instant::now()
}

fn since_epoch() -> Duration {
    #[cfg(feature = "simulation")]
    if let Some((_, wall)) = simulated::now() {
        return wall;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The clock of the simulator, set separately for each test thread.
#[cfg(feature = "simulation")]
pub mod simulated {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    }

    /// Sets the monotonic clock, and the wall clock as the time since the Unix epoch, for this
    /// thread.
    pub fn set(now: Instant, wall: Duration) {
        NOW.set(Some((now, wall)));
    }

    pub(super) fn now() -> Option<(Instant, Duration)> {
        NOW.get()
    }
}
