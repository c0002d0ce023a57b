//! The engine's interface to the open transactions of the database. A simulator implements it in
//! tests.

use std::sync::Arc;

use super::snapshot_reader::ReadFuture;

/// A transaction that has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenTransaction {
    /// The name of the transaction, which no later one takes. It may change when the transaction is
    /// prepared.
    pub id: Arc<str>,
    /// True if it is prepared for a two-phase commit, so that it needs no session.
    pub is_prepared: bool,
}

/// Tells which transactions are open.
pub trait TransactionSource: Send + Sync {
    /// Returns the transactions that are open in the database, in any order. A transaction that is
    /// not among them has ended, and its changes are visible to every later read. The future must
    /// end within seconds, regardless of the database's state.
    fn open_transactions(&self) -> ReadFuture<'_, Vec<OpenTransaction>>;
}

/// An implementation for sources of rows without transactions.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTransactions;

impl TransactionSource for NoTransactions {
    fn open_transactions(&self) -> ReadFuture<'_, Vec<OpenTransaction>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}
