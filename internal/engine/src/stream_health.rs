//! The health of a stream: whether it cannot be read although the database responds, because its
//! query is broken or its tables are locked.
//!
//! One failing key does not prove that the others fail, so it is no reason to warn every viewer
//! that numbers may be old. The stream counts as unhealthy when all its watched keys fail. Where
//! there are many keys, it counts sooner: when several healthy keys fail and no read succeeds for a
//! while.

use std::time::{Duration, Instant};

/// The number of newly failing keys, without a success in between, from which the stream itself may
/// be the cause.
const MIN_FAILED_KEYS: u32 = 2;

/// The health of one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StreamHealth {
    newly_failed: u32,
    /// True if all watched keys failed.
    all_failed: bool,
    /// The first failure since the last successful read: an instant for durations, and Unix seconds
    /// for display.
    failing_since: Option<(Instant, i64)>,
}

impl StreamHealth {
    /// Records a successful read, which resets the state.
    pub(super) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Records a rejected read of a single key. `was_healthy`: its previous read had not failed.
    /// `all_fail`: the last reads of all watched keys have failed.
    pub(super) fn record_failure(
        &mut self,
        was_healthy: bool,
        all_fail: bool,
        now: Instant,
        unix_s: i64,
    ) {
        self.newly_failed += u32::from(was_healthy);
        self.all_failed |= all_fail;
        self.failing_since.get_or_insert((now, unix_s));
    }

    /// Returns whether a read failed and none has succeeded since.
    pub(super) fn has_failed(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Returns the time since which the stream cannot be read, in Unix seconds. `after` is the time
    /// for which several keys must fail before the stream counts as the cause.
    pub(super) fn unhealthy_since_s(&self, now: Instant, after: Duration) -> Option<i64> {
        let is_lasting = |since| {
            self.newly_failed >= MIN_FAILED_KEYS && now.saturating_duration_since(since) >= after
        };
        self.failing_since
            .filter(|(since, _)| self.all_failed || is_lasting(*since))
            .map(|(_, unix_s)| unix_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_key_does_not_fail_the_stream() {
        let (start, after) = (Instant::now(), Duration::from_secs(1));
        let later = start + after;
        let mut health = StreamHealth::default();
        health.record_failure(true, false, start, 100);
        health.record_failure(false, false, later, 101);
        assert_eq!(
            health.unhealthy_since_s(later, after),
            None,
            "the same key again"
        );
        health.record_failure(true, false, later, 101);
        assert_eq!(
            health.unhealthy_since_s(later, after),
            Some(100),
            "another one, and none succeeded"
        );
        health.record_success();
        assert_eq!(
            (health.unhealthy_since_s(later, after), health.has_failed()),
            (None, false)
        );
        health.record_failure(true, false, later, 101);
        health.record_failure(true, false, later, 101);
        assert_eq!(
            health.unhealthy_since_s(later, after),
            None,
            "two keys that were just separated from a batch"
        );
        health.record_failure(false, true, later, 101);
        health.record_failure(false, false, later, 101);
        assert_eq!(
            health.unhealthy_since_s(later, after),
            Some(101),
            "all watched keys failed, also with later ones"
        );
    }
}
