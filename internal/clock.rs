//! The wall clock as an argument, so that midnight and token expiry can be tested at any hour.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX) + self.offset_s.load(Ordering::Relaxed)
    }

    /// Now, for calendars; to the microsecond.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let offset_us = self.offset_s.load(Ordering::Relaxed).saturating_mul(1_000_000);
        let us = i64::try_from(since.as_micros()).unwrap_or(i64::MAX).saturating_add(offset_us);
        Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
    }

    /// Moves this clock, and every clone of it, so that it shows `to` now. For tests.
    pub fn set(&self, to: Timestamp) {
        let system = Self::default().unix_s();
        self.offset_s.store(to.as_second() - system, Ordering::Relaxed);
    }
}
