//! What one statement reads, and how that ended.

use std::time::Instant;

use crate::engine::Sources;
use crate::ident::{StreamId, Topic};

/// One key of a batch.
#[derive(Debug)]
pub(super) struct Taken<W> {
    pub(super) topic: Topic,
    /// Why it is read.
    pub(super) sources: Sources,
    /// When the oldest of these hints came.
    pub(super) since: Instant,
    /// Who waits for this read.
    pub(super) waiters: Vec<W>,
    /// What its part of the read took, once that is known.
    pub(super) weight: Weight,
    /// Read on a timer.
    pub(super) hot: bool,
    /// Whether the read found something new.
    pub(super) changed: bool,
}

/// Whether a key may share a statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Weight {
    /// Nobody measured it.
    #[default]
    Unknown,
    /// As keys are.
    Light,
    /// So much that others would wait for it: it is read by a statement of its own.
    Giant,
}

/// Keys of one stream to be read by one statement.
#[derive(Debug)]
pub(super) struct Batch<W> {
    pub(super) stream: StreamId,
    pub(super) keys: Vec<Taken<W>>,
    pub(super) started: Instant,
    /// A key that is slow or failing, apart from the others.
    pub(super) solo: bool,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Read.
    Done {
        /// The statement took far longer than its number of keys explains.
        slow: bool,
    },
    /// The database could not be asked: all keys wait again.
    Unavailable,
    /// The database refused the statement: its keys are tried one by one; one that is alone already is tried later.
    Rejected,
}
