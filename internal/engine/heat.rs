//! When telling of a key's changes costs more than looking: a hot key is read on a timer, and its writers may be silent meanwhile.
//!
//! A committing NOTIFY takes a lock of the whole database, and each wakes the server, which reads the key no more often than
//! `Pace::min_interval` allows. Far beyond that rate the notifications say nothing that the next read would not find.

use std::time::{Duration, Instant};

/// Notifications are counted over this.
const WINDOW: Duration = Duration::from_secs(1);
/// A key that has not changed for so long is hot no more.
const REST: Duration = Duration::from_secs(1);

/// What is to be said of a key to those who declare interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Writers may be silent: the key is read on a timer.
    Hot,
    /// Writers should tell again.
    Cool,
}

/// How one key is told of.
#[derive(Debug, Default)]
pub(super) struct Heat {
    /// Since when, and how many notifications came.
    counted: Option<(Instant, u32)>,
    timed: Option<Timed>,
}

/// A key that is read on a timer.
#[derive(Debug)]
struct Timed {
    /// When it was last seen to have changed.
    changed: Instant,
    /// Its writers are being told to tell.
    cooling: bool,
}

impl Heat {
    /// A notification came.
    pub(super) fn told(&mut self, now: Instant) {
        match &mut self.counted {
            Some((since, count)) if now.saturating_duration_since(*since) < WINDOW => {
                *count = count.saturating_add(1)
            }
            counted => *counted = Some((now, 1)),
        }
    }

    /// The key was read, and had changed or not.
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
                let rests = now.saturating_duration_since(timed.changed) >= REST;
                (rests && !std::mem::replace(&mut timed.cooling, rests)).then_some(Turn::Cool)
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

    /// Reads on a timer begin.
    pub(super) fn start(&mut self, now: Instant) {
        self.timed = Some(Timed {
            changed: now,
            cooling: false,
        });
    }

    /// Its writers tell.
    pub(super) fn end(&mut self) {
        self.timed = None;
    }

    /// Whether the key is read on a timer.
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
    fn a_key_is_hot_when_many_tell_within_a_second() {
        let start = Instant::now();
        let (mut heat, mut slow) = (Heat::default(), Heat::default());
        for n in 0..3 {
            assert_eq!(heat.read(true, start, FROM), None, "told {n} times");
            heat.told(start + ms(n * 400));
            slow.told(start + ms(n * 1_000));
        }
        assert_eq!(heat.read(true, start + ms(801), FROM), Some(Turn::Hot));
        assert_eq!(
            heat.read(true, start + ms(802), FROM),
            None,
            "refused: it is counted anew"
        );
        assert_eq!(slow.read(true, start + ms(2_001), FROM), None);
    }

    #[test]
    fn it_cools_down_once_when_it_has_not_changed_for_a_while() {
        let start = Instant::now();
        let mut heat = Heat::default();
        heat.start(start);
        let turns: Vec<_> = (0..40)
            .map(|n| heat.read(n < 10, start + ms(n * 50), FROM))
            .collect();
        let cool = turns.iter().position(|turn| *turn == Some(Turn::Cool));
        assert_eq!(cool, Some(29), "a second after the last change");
        assert_eq!(turns.iter().flatten().count(), 1);
        assert!(heat.is_timed(), "until its writers tell");
        heat.end();
        assert!(!heat.is_timed());
    }
}
