//! Detects hot keys: keys for which notifications cost more than polling. A hot key is read on a
//! timer, and its writers need not notify meanwhile.
//!
//! A committing NOTIFY takes a lock of the whole database. Each notification wakes the server,
//! which reads the key at most once per `ReadPacing::min_interval`. Far beyond that rate, a
//! notification adds nothing that the next read would not find.

use std::time::{Duration, Instant};

/// The time window in which notifications are counted.
const WINDOW: Duration = Duration::from_secs(1);
/// The time without a change after which a key is no longer hot.
const REST: Duration = Duration::from_secs(1);

/// A change of polling that must be passed on to the watch interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The key is hot: poll it, and let its writers skip notifications.
    Hot,
    /// The key has cooled down: its writers should notify again.
    Cool,
}

/// The hot-key state of one key.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// The start of the current window, and the number of notifications in it.
    counted: Option<(Instant, u32)>,
    timed: Option<Timed>,
}

/// The state of a key that is polled on a timer.
#[derive(Debug)]
struct Timed {
    /// The time of the last read that found a change.
    changed: Instant,
    /// True if [`PollingChange::StopPolling`] was returned already, so that notifications are being
    /// enabled.
    cooling: bool,
}

impl Heat {
    /// Records a notification for the key.
    pub(super) fn told(&mut self, now: Instant) {
        match &mut self.counted {
            Some((since, count)) if now.saturating_duration_since(*since) < WINDOW => {
                *count = count.saturating_add(1)
            }
            counted => *counted = Some((now, 1)),
        }
    }

    /// Records a read and whether it found a change. Returns a change of polling if one is due.
    /// `hot_from` is the number of notifications in a second that makes a key hot; `None` disables
    /// polling.
    pub(super) fn read(
        &mut self,
        changed: bool,
        now: Instant,
        hot_from: Option<u32>,
    ) -> Option<Turn> {
        match &mut self.timed {
            Some(timed) if changed => {
                timed.changed = now;
                None
            }
            Some(timed) => {
                let is_quiet = now.saturating_duration_since(timed.changed) >= REST;
                (is_quiet && !std::mem::replace(&mut timed.cooling, is_quiet)).then_some(Turn::Cool)
            }
            None => {
                let is_hot = self
                    .counted
                    .is_some_and(|(_, count)| hot_from.is_some_and(|hot_from| count >= hot_from));
                is_hot.then(|| {
                    self.counted = None;
                    Turn::Hot
                })
            }
        }
    }

    /// Starts polling the key on a timer.
    pub(super) fn start(&mut self, now: Instant) {
        self.timed = Some(Timed {
            changed: now,
            cooling: false,
        });
    }

    /// Stops polling: the key's writers notify again.
    pub(super) fn end(&mut self) {
        self.timed = None;
    }

    /// Returns whether the key is polled on a timer.
    pub(super) fn is_timed(&self) -> bool {
        self.timed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Option<u32> = Some(3);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn key_is_hot_after_many_notifications_in_a_second() {
        let start = Instant::now();
        let (mut frequent, mut slow) = (Heat::default(), Heat::default());
        for n in 0..3 {
            assert_eq!(
                frequent.read(true, start, FROM),
                None,
                "after {n} notifications"
            );
            frequent.told(start + ms(n * 400));
            slow.told(start + ms(n * 1_000));
        }
        assert_eq!(frequent.read(true, start + ms(801), FROM), Some(Turn::Hot));
        assert_eq!(
            frequent.read(true, start + ms(802), FROM),
            None,
            "after a refusal the count starts anew"
        );
        assert_eq!(slow.read(true, start + ms(2_001), FROM), None);
    }

    #[test]
    fn polling_stops_once_after_a_quiet_period() {
        let start = Instant::now();
        let mut detector = Heat::default();
        detector.start(start);
        let changes: Vec<_> = (0..40)
            .map(|n| detector.read(n < 10, start + ms(n * 50), FROM))
            .collect();
        let stop = changes
            .iter()
            .position(|change| *change == Some(Turn::Cool));
        assert_eq!(stop, Some(29), "a second after the last change");
        assert_eq!(changes.iter().flatten().count(), 1);
        assert!(detector.is_timed(), "until notifications are enabled");
        detector.end();
        assert!(!detector.is_timed());
    }
}
