//! The engine's interface to the database. A simulator implements it in tests.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::definition::Stream;
use crate::local_day::LocalDay;
use crate::snapshot::StreamRow;
use crate::stream_status::StreamProblem;
use crate::topic_history::{HistoryLimits, TopicHistory};
use latido_base::ident::Key;

/// The boxed result of a read, because the trait must be object-safe.
pub type ReadFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReadError>> + Send + 'a>>;

/// The reason for a failed read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The database cannot be reached now; a later attempt may succeed.
    #[error("{0}")]
    Unavailable(String),
    /// The database refused this statement, or the statement ran into its time-out, because of one
    /// of the keys. Without keys the statement works.
    #[error("{0}")]
    Rejected(String),
    /// The database refuses the stream's statement whatever the keys are.
    #[error(transparent)]
    Broken(StreamProblem),
}

/// A row and the time that reading it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRow {
    /// The row as the database returned it.
    pub row: StreamRow,
    /// The time in the database between the previous row of the statement and this one; for the
    /// first row, since the start of the statement. `None` if unknown.
    pub took: Option<Duration>,
}

/// Reads the rows and zones of a stream's keys.
pub trait SnapshotReader: Send + Sync {
    /// Reads one row per key, in any order; `todays[i]` is the current local day of `keys[i]`. The
    /// future must end within seconds, regardless of the database's state.
    fn read<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<ReadRow>>;

    /// Reads the history of each key, in any order, for a stream that has a history query; `todays[i]`
    /// is the current local day of `keys[i]`. A key without rows may be missing. The future must end
    /// within seconds, regardless of the database's state. [`ReadError::Broken`] means that the
    /// database refuses the history query, whatever the keys are; the stream itself may work.
    fn history<'a>(
        &'a self,
        _stream: &'a Stream,
        _keys: &'a [Key],
        _todays: &'a [LocalDay],
        _limits: HistoryLimits,
    ) -> ReadFuture<'a, Vec<TopicHistory>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Returns those keys for which the stream's query and its verification query give different
    /// results in one snapshot.
    fn mismatched_keys<'a>(
        &'a self,
        _stream: &'a Stream,
        _keys: &'a [Key],
        _todays: &'a [LocalDay],
    ) -> ReadFuture<'a, Vec<Key>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Returns the zone names of those keys that have one.
    fn zones<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
    ) -> ReadFuture<'a, HashMap<Key, String>>;
}
