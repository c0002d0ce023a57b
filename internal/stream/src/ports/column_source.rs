//! The source of the columns of a stream.

use crate::column::Column;
use crate::definition::Stream;

/// A source of the columns of a stream's rows.
pub trait ColumnSource: Send + Sync {
    /// Returns the data columns, or `None` until the database has described them. Must not wait.
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>>;

    /// Returns the data columns of the stream's history, or `None` until the database has described
    /// them, or if the stream has no history. Must not wait.
    fn history_columns(&self, _stream: &Stream) -> Option<Vec<Column>> {
        None
    }
}
