//! A chain of tables from a changed row to the key.

use std::collections::{BTreeMap, BTreeSet};

use crate::keys::not_proven::NotProvenReason;
use crate::keys::source::Place;

/// A chain of tables from a changed row to the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The places, that of the changed row first.
    pub(crate) places: Vec<Place>,
    /// The columns that join each place to the one before: first that of the one before.
    pub(crate) joins: Vec<BTreeSet<(i32, i32)>>,
    /// The column of each key part: the number of its place, and the column.
    pub(crate) parts: BTreeMap<usize, (usize, i32)>,
}

/// What stood against the chains that were tried.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    pub(crate) reason: Option<NotProvenReason>,
    /// A chain whose only fault is the reason.
    pub(crate) chain: Option<Chain>,
}

impl Failure {
    /// Notes a reason, unless there is one.
    pub(crate) fn note(&mut self, reason: NotProvenReason) {
        self.reason.get_or_insert(reason);
    }
}
