//! A batch of keys that one statement reads, and the outcome of that statement.

use std::time::Instant;

use crate::hint_source::HintSources;
use latido_base::ident::{StreamId, Topic};

/// One key of a batch.
#[derive(Debug)]
pub(super) struct BatchKey<W> {
    pub(super) topic: Topic,
    /// The sources of the hints that caused this read.
    pub(super) sources: HintSources,
    /// The time at which the oldest of these hints arrived.
    pub(super) since: Instant,
    /// The tasks that wait for this read.
    pub(super) waiters: Vec<W>,
    /// The measured cost of this key's part of the read, once it is known.
    pub(super) cost: KeyCost,
    /// True if the key is polled on a timer.
    pub(super) is_polled: bool,
    /// True if the read found a changed row.
    pub(super) has_changed: bool,
}

/// The cost of reading a key, which decides whether it may share a statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum KeyCost {
    /// The cost was not measured.
    #[default]
    Unknown,
    /// A usual cost: the key may share a statement.
    Light,
    /// A cost so high that other keys would wait for it: the key is read by a statement of its own.
    Heavy,
}

/// Keys of one stream that one statement reads.
#[derive(Debug)]
pub(super) struct ReadBatch<W> {
    pub(super) stream: StreamId,
    pub(super) keys: Vec<BatchKey<W>>,
    pub(super) started_at: Instant,
    /// True if the batch is a single slow or failing key, read apart from the others.
    pub(super) is_solo: bool,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchOutcome {
    /// All keys of the batch were read.
    Done {
        /// True if the statement took far longer than its number of keys explains.
        is_slow: bool,
    },
    /// The database could not be reached: all keys of the batch wait again.
    Unavailable,
    /// The database refused the statement. The keys of a larger batch are retried one by one; a key
    /// that was alone is retried later.
    Rejected,
    /// The stream cannot be read, whatever the keys are. They are marked again when it can.
    Broken,
}
