//! The state of one watched key in the dirty set.

use std::time::Instant;

use crate::hint_source::{HintSource, HintSources};
use crate::hot_keys::HotKeyDetector;

/// A key that is marked and not yet read: the sources of its hints, the time of the oldest hint,
/// and its waiters.
#[derive(Debug)]
pub(super) struct PendingRead<W> {
    pub(super) sources: HintSources,
    pub(super) since: Instant,
    pub(super) waiters: Vec<W>,
}

/// The state of a watched key.
#[derive(Debug)]
pub(super) struct KeyState<W> {
    pub(super) pending: Option<PendingRead<W>>,
    /// The earliest time of the next read. While the key is queued, `None` means that it is due.
    pub(super) not_before: Option<Instant>,
    pub(super) failures: u32,
    /// The earliest time to try a key again that failed, if a hint says that its rows changed,
    /// because the change may have repaired it.
    pub(super) retry_after_change_at: Option<Instant>,
    /// The largest number of keys that may share a statement with this one. Halved after a slow
    /// batch, doubled after a fast one.
    pub(super) max_batch_keys: usize,
    /// The time of the hook's last hint, while rechecks are still scheduled.
    pub(super) hooked_at: Option<Instant>,
    /// The time to read the key even if its writers' notifications are not enabled by then.
    pub(super) first_read_at: Option<Instant>,
    /// True until the key's writers notify: the key will be read once more when they do.
    pub(super) awaits_notifications: bool,
    pub(super) hot_key: HotKeyDetector,
}

impl<W> KeyState<W> {
    /// Creates the state of a key without history. `share` is the largest number of keys in its
    /// statement.
    pub(super) fn new(max_batch_keys: usize) -> Self {
        Self {
            pending: None,
            not_before: None,
            failures: 0,
            retry_after_change_at: None,
            max_batch_keys,
            hooked_at: None,
            first_read_at: None,
            awaits_notifications: false,
            hot_key: HotKeyDetector::default(),
        }
    }

    /// Moves the next attempt of a failing key forward if `source` reports a change of its rows.
    /// Returns the new time, for which the key must be queued, if it is earlier.
    pub(super) fn take_earlier_retry(
        &mut self,
        source: HintSource,
        now: Instant,
    ) -> Option<Instant> {
        let reports_change = matches!(
            source,
            HintSource::Trigger | HintSource::Hook | HintSource::Move
        );
        let at = self.retry_after_change_at.take_if(|_| reports_change)?;
        let at = at.max(now);
        self.not_before.filter(|planned| at < *planned)?;
        self.not_before = Some(at);
        Some(at)
    }

    /// Merges the hints and waiters of a failed read with those that arrived meanwhile.
    pub(super) fn merge_pending(
        &mut self,
        sources: HintSources,
        since: Instant,
        mut waiters: Vec<W>,
    ) {
        let waiting = self.pending.get_or_insert_with(|| PendingRead {
            sources,
            since,
            waiters: Vec::new(),
        });
        waiting.sources |= sources;
        waiting.since = waiting.since.min(since);
        waiting.waiters.append(&mut waiters);
    }
}
