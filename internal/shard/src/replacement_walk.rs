//! The progress of the walk over the clients after streams were replaced.

use std::time::Duration;

use latido_base::backoff::Backoff;

/// The pause while the queue of permission checks has too little room for the next client.
const PAUSE: Duration = Duration::from_millis(20);
/// The first and the longest pause before permissions that could not be looked up are looked up
/// again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The progress of a walk over the clients.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplacementWalk {
    /// The slot of the next client.
    pub(super) next_slot: u32,
    /// True if the next client must wait for room in the queue.
    pub(super) is_paused: bool,
}

impl ReplacementWalk {
    /// Creates a walk that begins with the first client.
    pub(super) const fn from_the_start() -> Self {
        Self {
            next_slot: 0,
            is_paused: false,
        }
    }

    /// Returns the time until the walk goes on.
    pub(super) fn next_in(self) -> Duration {
        match self.is_paused {
            true => PAUSE,
            false => Duration::ZERO,
        }
    }
}

/// The time of the next walk for subscriptions whose permission could not be looked up. Times are
/// since the start of the shard.
#[derive(Debug)]
pub(super) struct RetrySchedule {
    at: Option<Duration>,
    pauses: Backoff,
}

impl Default for RetrySchedule {
    fn default() -> Self {
        let (first, longest) = RETRY_PAUSES;
        Self {
            at: None,
            pauses: Backoff::new(first, longest),
        }
    }
}

impl RetrySchedule {
    /// Begins with short pauses again, because streams were replaced.
    pub(super) fn reset(&mut self) {
        self.pauses.reset();
    }

    /// Plans a walk, unless one is planned.
    pub(super) fn plan(&mut self, now: Duration) {
        if self.at.is_none() {
            self.at = Some(now + self.pauses.next_pause());
        }
    }

    /// Returns whether a walk is due, and forgets it then.
    pub(super) fn take_due(&mut self, now: Duration) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }

    /// Returns the time from `now` until the next walk.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        self.at.map(|at| at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_planned_once_with_growing_pauses() {
        let mut retries = RetrySchedule::default();
        let mut now = Duration::ZERO;
        for pause_ms in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            let pause = Duration::from_millis(pause_ms);
            assert!(!retries.take_due(now + pause), "none is planned");
            retries.plan(now);
            retries.plan(now + pause / 2);
            assert_eq!(retries.next_in(now), Some(pause));
            assert!(!retries.take_due(now + pause / 2));
            now += pause;
            assert!(retries.take_due(now));
        }
        retries.reset();
        retries.plan(now);
        assert_eq!(retries.next_in(now), Some(RETRY_PAUSES.0));
    }
}
