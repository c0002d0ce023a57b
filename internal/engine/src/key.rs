//! The state of one watched key in the dirty set.

use std::time::Instant;

use crate::Sources;
use crate::heat::Heat;

/// A key that is marked and not yet read: the sources of its hints, the time of the oldest hint,
/// and its waiters.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) sources: Sources,
    pub(super) since: Instant,
    pub(super) waiters: Vec<W>,
}

/// The state of a watched key.
#[derive(Debug)]
pub(super) struct KeyState<W> {
    pub(super) waiting: Option<Waiting<W>>,
    pub(super) not_before: Option<Instant>,
    pub(super) failures: u32,
    /// The largest number of keys that may share a statement with this one. Halved after a slow
    /// batch, doubled after a fast one.
    pub(super) share: usize,
    /// The time of the hook's last hint, while rechecks are still scheduled.
    pub(super) hooked: Option<Instant>,
    /// The time to read the key even if its writers' notifications are not enabled by then.
    pub(super) provisional: Option<Instant>,
    pub(super) heat: Heat,
}

impl<W> KeyState<W> {
    /// Creates the state of a key without history. `share` is the largest number of keys in its
    /// statement.
    pub(super) fn new(share: usize) -> Self {
        Self {
            waiting: None,
            not_before: None,
            failures: 0,
            share,
            hooked: None,
            provisional: None,
            heat: Heat::default(),
        }
    }

    /// Merges the hints and waiters of a failed read with those that arrived meanwhile.
    pub(super) fn wait_again(&mut self, sources: Sources, since: Instant, mut waiters: Vec<W>) {
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            sources,
            since,
            waiters: Vec::new(),
        });
        waiting.sources |= sources;
        waiting.since = waiting.since.min(since);
        waiting.waiters.append(&mut waiters);
    }
}
