//! The timers of all clients of a shard: a hashed timer wheel of whole seconds.
//!
//! An entry is a reminder to examine a client, not a promise that something is due. A deadline that
//! moved leaves its old entry behind, and the client is examined once more than necessary.

use std::time::Duration;

/// The slots of the wheel, one per second. A deadline further away is examined and put back once
/// per revolution.
const SLOTS: u32 = 64;

/// The timer entry of a slot. The slot may belong to another client by now; the generation shows
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimerEntry {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

#[derive(Debug)]
pub(super) struct TimerWheel {
    slots: Vec<Vec<TimerEntry>>,
    /// The second up to which (inclusive) entries were taken.
    taken_until_s: u32,
    entries: usize,
}

impl TimerWheel {
    pub(super) fn new() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            taken_until_s: 0,
            entries: 0,
        }
    }

    /// Adds an entry at second `at_s`, or at the far end of the wheel if that is further away.
    /// Returns the second that was used.
    pub(super) fn put(&mut self, at_s: u32, entry: TimerEntry) -> u32 {
        let at_s = at_s.clamp(self.taken_until_s + 1, self.taken_until_s + SLOTS - 1);
        self.slots[index(at_s)].push(entry);
        self.entries += 1;
        at_s
    }

    /// Takes every entry up to second `now_s`, inclusive.
    pub(super) fn take(&mut self, now_s: u32, due: &mut Vec<TimerEntry>) {
        let turns = now_s.saturating_sub(self.taken_until_s).min(SLOTS);
        for step in 1..=turns {
            // The vectors are taken, not drained: otherwise each slot would keep the memory of its
            // fullest second.
            due.append(&mut std::mem::take(
                &mut self.slots[index(self.taken_until_s.wrapping_add(step))],
            ));
        }
        self.taken_until_s = self.taken_until_s.max(now_s);
        self.entries -= due.len().min(self.entries);
    }

    /// Returns the time from `now` until the next entry. `now` counts from the start of the wheel.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        if self.entries == 0 {
            return None;
        }
        let next = (1..SLOTS)
            .map(|step| self.taken_until_s + step)
            .find(|at_s| !self.slots[index(*at_s)].is_empty())?;
        Some(Duration::from_secs(next.into()).saturating_sub(now))
    }
}

fn index(at_s: u32) -> usize {
    usize::try_from(at_s % SLOTS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(slot: u32) -> TimerEntry {
        TimerEntry {
            slot,
            generation: 0,
        }
    }

    proptest! {
        /// Every entry comes exactly once, never early, and never later than its second.
        #[test]
        fn every_entry_comes_once_and_on_time(puts in prop::collection::vec((0u32..200, 0u32..5), 1..60)) {
            let mut wheel = TimerWheel::new();
            let mut now = 0;
            let mut pending: Vec<(u32, u32)> = Vec::new();
            for (number, (at, pass)) in puts.into_iter().enumerate() {
                let number = u32::try_from(number).unwrap();
                pending.push((wheel.put(at, entry(number)), number));
                now += pass;
                let mut due = Vec::new();
                wheel.take(now, &mut due);
                for taken in due {
                    let index = pending.iter().position(|(_, n)| *n == taken.slot).expect("came once");
                    prop_assert!(pending.swap_remove(index).0 <= now);
                }
                prop_assert!(pending.iter().all(|(at, _)| *at > now), "all that is due came");
                prop_assert_eq!(wheel.next_in(Duration::from_secs(now.into())).is_some(), !pending.is_empty());
            }
        }
    }
}
