//! The timers of handlers that need more than the whole seconds of the timer wheel.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::timer_wheel::TimerEntry;

/// The timers by their time since the shard's start, the next one first.
#[derive(Debug, Default)]
pub(super) struct WakeTimers {
    entries: BinaryHeap<Reverse<(Duration, u32, u32)>>,
}

impl WakeTimers {
    /// Adds a timer.
    pub(super) fn put(&mut self, at: Duration, entry: TimerEntry) {
        self.entries
            .push(Reverse((at, entry.slot, entry.generation)));
    }

    /// Takes the next timer that is due.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<TimerEntry> {
        let Reverse((at, slot, generation)) = *self.entries.peek()?;
        if at > now {
            return None;
        }
        self.entries.pop();
        Some(TimerEntry { slot, generation })
    }

    /// Returns the time from `now` until the next timer.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        let Reverse((at, ..)) = self.entries.peek()?;
        Some(at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_never_early() {
        let mut timers = WakeTimers::default();
        let entry = |slot| TimerEntry {
            slot,
            generation: 0,
        };
        let ms = Duration::from_millis;
        timers.put(ms(20), entry(2));
        timers.put(ms(10), entry(1));
        assert_eq!(timers.next_in(ms(4)), Some(ms(6)));
        assert_eq!(timers.take_due(ms(9)), None);
        assert_eq!(timers.take_due(ms(30)), Some(entry(1)));
        assert_eq!(timers.take_due(ms(30)), Some(entry(2)));
        assert_eq!(timers.next_in(ms(30)), None);
    }
}
