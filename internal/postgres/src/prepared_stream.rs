//! What is prepared of a stream: its statements and its columns.

use tokio_postgres::types::Type;

use latido_stream::{Column, KeyType};

/// A stream's statements in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreparedStream {
    pub(super) key_type: KeyType,
    /// The array type of `$1`, the keys.
    pub(super) key_array_type: Type,
    /// True if the query takes the local dates as `$2`.
    pub(super) takes_today: bool,
    /// The data columns after the key.
    pub(super) columns: Vec<Column>,
    /// The SQL that reads rows: key, columns, clock, the row's time, and the statement's start.
    pub(super) read_sql: String,
    /// The SQL that returns the keys for which the query and its verification query differ. `None`
    /// if there is no verification query, or if it replaces the query already.
    pub(super) mismatch_sql: Option<String>,
    /// The SQL that returns key and zone, with the type of its `$1`.
    pub(super) zones_query: Option<(String, Type)>,
}
