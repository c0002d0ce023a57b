//! The source of the columns of a stream.

use crate::column::Column;
use crate::definition::Stream;

/// A source of the columns of a stream's rows.
pub trait ColumnSource: Send + Sync {
    /// Returns the data columns, or `None` until the database has described them. Must not wait.
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>>;
}
