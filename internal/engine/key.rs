//! What the dirty set knows of one watched key.

use std::time::Instant;

use crate::engine::Sources;
use crate::engine::heat::Heat;

/// A key that is to be read.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) sources: Sources,
    pub(super) since: Instant,
    pub(super) waiters: Vec<W>,
}

/// A watched key.
#[derive(Debug)]
pub(super) struct KeyState<W> {
    pub(super) waiting: Option<Waiting<W>>,
    pub(super) not_before: Option<Instant>,
    pub(super) failures: u32,
    /// Most keys this one may share a statement with: halved when its batch was slow, doubled when it was not.
    pub(super) share: usize,
    /// When the hook last named it, while reminders follow.
    pub(super) hooked: Option<Instant>,
    /// When to read it although its writers have not yet been told that it is watched.
    pub(super) provisional: Option<Instant>,
    pub(super) heat: Heat,
}

impl<W> KeyState<W> {
    /// A key that nothing is known of, except how many may share a statement with it.
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

    /// Merges a failed read's reasons with those that came meanwhile.
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
