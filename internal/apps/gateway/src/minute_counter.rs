//! A counter of the events in the last minute. Pure except for its lock.

use std::sync::{Mutex, PoisonError};

const WINDOW_S: usize = 60;

/// One count per second, for the last 60 seconds.
#[derive(Debug)]
pub(super) struct MinuteCounter(Mutex<[(i64, u64); WINDOW_S]>);

impl Default for MinuteCounter {
    fn default() -> Self {
        Self(Mutex::new([(i64::MIN, 0); WINDOW_S]))
    }
}

impl MinuteCounter {
    pub(super) fn add(&self, unix_s: i64, count: u64) {
        let mut seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let second = &mut seconds[slot_index(unix_s)];
        if second.0 != unix_s {
            *second = (unix_s, 0);
        }
        second.1 += count;
    }

    pub(super) fn last_minute(&self, unix_s: i64) -> u64 {
        let seconds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: i64| at <= unix_s && at > unix_s - WINDOW_S as i64;
        seconds
            .iter()
            .filter(|(at, _)| recent(*at))
            .map(|(_, count)| count)
            .sum()
    }
}

fn slot_index(unix_s: i64) -> usize {
    usize::try_from(unix_s.rem_euclid(WINDOW_S as i64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_last_sixty_seconds() {
        let minute = MinuteCounter::default();
        for (at, count) in [(0, 1), (30, 2), (59, 3), (60, 4)] {
            minute.add(at, count);
        }
        assert_eq!(
            (
                minute.last_minute(59),
                minute.last_minute(60),
                minute.last_minute(89),
                minute.last_minute(90),
                minute.last_minute(1_000)
            ),
            (5, 9, 9, 7, 0)
        );
    }
}
