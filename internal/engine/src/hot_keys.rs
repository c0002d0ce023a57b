//! Detects hot keys: keys for which notifications cost more than polling. A hot key is read on a
//! timer, and its writers need not notify meanwhile.
//!
//! A committing NOTIFY takes a lock of the whole database. Each notification wakes the server,
//! which reads the key at most once per `ReadPacing::min_interval`. Far beyond that rate, a
//! notification adds nothing that the next read would not find.

use std::time::{Duration, Instant};

/// The time window in which notifications are counted.
const COUNT_WINDOW: Duration = Duration::from_secs(1);

/// The time without a change after which a key is no longer hot.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// A change of polling that must be passed on to the watch interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollingChange {
    /// The key is hot: poll it, and let its writers skip notifications.
    StartPolling,
    /// The key has cooled down: its writers should notify again.
    StopPolling,
}

/// The hot-key state of one key.
#[derive(Debug, Default)]
pub(super) struct HotKeyDetector {
    /// The start of the current window, and the number of notifications in it.
    notification_count: Option<(Instant, u32)>,
    polling: Option<Polling>,
}

/// The state of a key that is polled on a timer.
#[derive(Debug)]
struct Polling {
    /// The time of the last read that found a change.
    last_change: Instant,
    /// True if [`PollingChange::StopPolling`] was returned already, so that notifications are being
    /// enabled.
    is_stopping: bool,
}

impl HotKeyDetector {
    /// Records a notification for the key.
    pub(super) fn record_notification(&mut self, now: Instant) {
        match &mut self.notification_count {
            Some((since, count)) if now.saturating_duration_since(*since) < COUNT_WINDOW => {
                *count = count.saturating_add(1)
            }
            counted => *counted = Some((now, 1)),
        }
    }

    /// Records a read and whether it found a change. Returns a change of polling if one is due.
    /// `hot_from` is the number of notifications in a second that makes a key hot; `None` disables
    /// polling.
    pub(super) fn on_read(
        &mut self,
        changed: bool,
        now: Instant,
        hot_from: Option<u32>,
    ) -> Option<PollingChange> {
        match &mut self.polling {
            Some(timed) if changed => {
                timed.last_change = now;
                None
            }
            Some(timed) => {
                let is_quiet = now.saturating_duration_since(timed.last_change) >= QUIET_PERIOD;
                (is_quiet && !std::mem::replace(&mut timed.is_stopping, is_quiet))
                    .then_some(PollingChange::StopPolling)
            }
            None => {
                let is_hot = self
                    .notification_count
                    .is_some_and(|(_, count)| hot_from.is_some_and(|hot_from| count >= hot_from));
                is_hot.then(|| {
                    self.notification_count = None;
                    PollingChange::StartPolling
                })
            }
        }
    }

    /// Starts polling the key on a timer.
    pub(super) fn start_polling(&mut self, now: Instant) {
        self.polling = Some(Polling {
            last_change: now,
            is_stopping: false,
        });
    }

    /// Stops polling: the key's writers notify again.
    pub(super) fn stop_polling(&mut self) {
        self.polling = None;
    }

    /// Returns whether the key is polled on a timer.
    pub(super) fn is_polled(&self) -> bool {
        self.polling.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOT_FROM: Option<u32> = Some(3);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn key_is_hot_after_many_notifications_in_a_second() {
        let start = Instant::now();
        let (mut frequent, mut slow) = (HotKeyDetector::default(), HotKeyDetector::default());
        for n in 0..3 {
            assert_eq!(
                frequent.on_read(true, start, HOT_FROM),
                None,
                "after {n} notifications"
            );
            frequent.record_notification(start + ms(n * 400));
            slow.record_notification(start + ms(n * 1_000));
        }
        assert_eq!(
            frequent.on_read(true, start + ms(801), HOT_FROM),
            Some(PollingChange::StartPolling)
        );
        assert_eq!(
            frequent.on_read(true, start + ms(802), HOT_FROM),
            None,
            "after a refusal the count starts anew"
        );
        assert_eq!(slow.on_read(true, start + ms(2_001), HOT_FROM), None);
    }

    #[test]
    fn polling_stops_once_after_a_quiet_period() {
        let start = Instant::now();
        let mut detector = HotKeyDetector::default();
        detector.start_polling(start);
        let changes: Vec<_> = (0..40)
            .map(|n| detector.on_read(n < 10, start + ms(n * 50), HOT_FROM))
            .collect();
        let stop = changes
            .iter()
            .position(|change| *change == Some(PollingChange::StopPolling));
        assert_eq!(stop, Some(29), "a second after the last change");
        assert_eq!(changes.iter().flatten().count(), 1);
        assert!(detector.is_polled(), "until notifications are enabled");
        detector.stop_polling();
        assert!(!detector.is_polled());
    }
}
