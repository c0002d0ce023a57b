//! Finds a stream's table in the catalogs.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use latido_stream::{SourceTable, Stream};

/// Returns the table's object id, or `None` if this role finds no such table.
pub(super) async fn find_table_oid(
    database: &Database,
    table: &SourceTable,
) -> Result<Option<u32>, DatabaseError> {
    let sql = include_str!("triggers/find_table.sql");
    let params = [(&table.name as _, Type::TEXT)];
    match database.query("a look at the tables", sql, &params).await {
        Ok(rows) => Ok(rows
            .first()
            .and_then(|row| row.try_get::<_, Option<u32>>(0).ok().flatten())),
        // A schema that the role may not use, for example.
        Err(DatabaseError::Rejected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Database {
    /// Returns whether this role finds one of the stream's tables nowhere.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn lacks_tables(&self, stream: &Stream) -> Result<bool, DatabaseError> {
        for table in &stream.tables {
            if find_table_oid(self, table).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
