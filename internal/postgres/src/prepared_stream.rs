//! What is prepared of a stream: its statements and its columns.

use tokio_postgres::types::Type;

use latido_stream::{Column, KeyType};

/// A stream's statements in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreparedStream {
    pub(super) key_type: KeyType,
    /// The array type of `$1`, the keys.
    pub(super) key_array_type: Type,
    /// The data columns after the key.
    pub(super) columns: Vec<Column>,
    /// Reads rows: key, columns, clock, the row's time, and the statement's start.
    pub(super) read: KeyedStatement,
    /// Returns the keys for which the query and its verification query differ. `None` if there is
    /// no verification query, or if it replaces the query already.
    pub(super) mismatch: Option<KeyedStatement>,
    /// The SQL that returns key and zone, with the type of its `$1`.
    pub(super) zones_query: Option<(String, Type)>,
}

/// A statement whose `$1` are keys, and which may take the bounds of their day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedStatement {
    pub(super) sql: String,
    /// The array types of `$2` and `$3`, as far as the statement has them.
    pub(super) day_arrays: Vec<Type>,
}
