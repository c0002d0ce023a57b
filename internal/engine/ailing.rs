//! Whether a stream as a whole can't be read although the database answers: its query is broken, or its tables are locked.
//!
//! One key that fails says nothing of the others, so it is no reason to tell every viewer that numbers may be old. It is the stream when
//! all its watched keys fail, or, sooner where there are many, when several that were well fail and for a while no read succeeds.

use std::time::{Duration, Instant};

/// Keys that were well and failed, without a success in between, before it may be the stream.
const ENOUGH: u32 = 2;

/// One stream's state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ailing {
    newly_failed: u32,
    /// Every watched key failed.
    all: bool,
    /// The first failure since a read succeeded: for durations, and Unix seconds for people.
    since: Option<(Instant, i64)>,
}

impl Ailing {
    /// A read succeeded.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// A key that was read alone was refused. `was_well`: its last read had not failed; `all_fail`: every watched key's has, now.
    pub(super) fn failed(&mut self, was_well: bool, all_fail: bool, now: Instant, unix_s: i64) {
        self.newly_failed += u32::from(was_well);
        self.all |= all_fail;
        self.since.get_or_insert((now, unix_s));
    }

    /// Whether a read failed and none has succeeded since.
    pub(super) fn has_failed(&self) -> bool {
        self.since.is_some()
    }

    /// Since when the stream can't be read, Unix seconds. `after`: how long several keys must fail before it is taken for the stream.
    pub(super) fn since_s(&self, now: Instant, after: Duration) -> Option<i64> {
        let lasts =
            |since| self.newly_failed >= ENOUGH && now.saturating_duration_since(since) >= after;
        self.since
            .filter(|(since, _)| self.all || lasts(*since))
            .map(|(_, unix_s)| unix_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_not_the_stream() {
        let (start, after) = (Instant::now(), Duration::from_secs(1));
        let later = start + after;
        let mut ailing = Ailing::default();
        ailing.failed(true, false, start, 100);
        ailing.failed(false, false, later, 101);
        assert_eq!(ailing.since_s(later, after), None, "the same key again");
        ailing.failed(true, false, later, 101);
        assert_eq!(
            ailing.since_s(later, after),
            Some(100),
            "another one, and none succeeded"
        );
        ailing.over();
        assert_eq!(
            (ailing.since_s(later, after), ailing.has_failed()),
            (None, false)
        );
        ailing.failed(true, false, later, 101);
        ailing.failed(true, false, later, 101);
        assert_eq!(
            ailing.since_s(later, after),
            None,
            "two of a batch that are parted from it, just now"
        );
        ailing.failed(false, true, later, 101);
        ailing.failed(false, false, later, 101);
        assert_eq!(
            ailing.since_s(later, after),
            Some(101),
            "all that were watched, whoever came since"
        );
    }
}
