//! What is prepared of a stream: its statements and its columns.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use latido_stream::{Column, KeyType};

/// A stream's statements in the form that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PreparedStream {
    /// The type of each key part.
    pub(super) key_types: Vec<KeyType>,
    /// The array types of the topics' columns.
    pub(super) topic_arrays: TopicArrays,
    /// The data columns.
    pub(super) columns: Vec<Column>,
    /// Reads rows: topic, columns, clock, the row's time, and the statement's start.
    pub(super) read: KeyedStatement,
    /// Returns the keys for which the query and its verification query differ. `None` if there is
    /// no verification query, or if it replaces the query already.
    pub(super) mismatch: Option<KeyedStatement>,
    /// The SQL that returns key and zone, with the array types of its parameters.
    pub(super) zones_query: Option<(String, Vec<Type>)>,
    /// Reads histories, if the stream has a history query, or the reason why that cannot be used. The
    /// stream is read all the same.
    pub(super) history: Result<Option<HistoryStatement>, DatabaseError>,
    /// The type of the claims that the `authorize` query takes, if it takes any, or the reason why
    /// it cannot be used. The stream is read all the same, for clients whose token grants it.
    pub(super) claims_type: Result<Option<Type>, DatabaseError>,
}

/// The array types of a topic's parts among a statement's parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicArrays {
    /// One for each key part: the first parameters.
    pub(super) keys: Vec<Type>,
    /// One for each of the stream's parameters: the last ones.
    pub(super) params: Vec<Type>,
}

/// A statement whose parameters are the columns of topics, and which may take the bounds of their
/// day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyedStatement {
    pub(super) sql: String,
    /// The array types of the day and of the next day, as far as the statement has them. They stand
    /// between the key parts and the stream's parameters.
    pub(super) day_arrays: Vec<Type>,
}

/// The statement that reads the histories of topics. Its parameters are those of a [`KeyedStatement`],
/// then the largest number of rows of a topic and their largest size in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HistoryStatement {
    pub(super) statement: KeyedStatement,
    /// The array types of the topics' columns, which may differ from those of the stream's query.
    pub(super) topic_arrays: TopicArrays,
    /// The data columns.
    pub(super) columns: Vec<Column>,
}
