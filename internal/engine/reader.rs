//! What the engine asks of a database; the seam at which a simulator takes its place.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::civil::Date;

use crate::ident::Key;
use crate::stream::{Row, Stream};

/// A boxed answer: the trait must be object-safe.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReadError>> + Send + 'a>>;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The database can't be asked now; asking again later may help.
    #[error("{0}")]
    Unavailable(String),
    /// The database refuses this statement, or it ran too long.
    #[error("{0}")]
    Rejected(String),
}

/// A row, and what it took to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The row.
    pub row: Row,
    /// What the database took between the row before it in the same statement and this one; for the first, since the statement began.
    pub took: Option<Duration>,
}

/// Reads streams.
pub trait Reader: Send + Sync {
    /// One row per key, in any order; `todays[i]` is today of `keys[i]`. Must end, within seconds, whatever the database does.
    fn read<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [Date],
    ) -> Answer<'a, Vec<Reading>>;

    /// The keys among these of which the stream's query and its check say different things at one moment.
    fn differences<'a>(
        &'a self,
        _stream: &'a Stream,
        _keys: &'a [Key],
        _todays: &'a [Date],
    ) -> Answer<'a, Vec<Key>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The zone names of those keys that have one.
    fn zones<'a>(&'a self, stream: &'a Stream, keys: &'a [Key])
    -> Answer<'a, HashMap<Key, String>>;
}
