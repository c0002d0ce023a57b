//! The database that the demo writes to.

use futures_util::future::BoxFuture;

/// Runs one statement, or several separated by semicolons. The owner of the connections implements
/// it.
pub trait SqlExecutor: Send + Sync {
    /// Runs the SQL and returns the number of rows that the last statement changed.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable or rejects the SQL. A single statement is
    /// never applied partially.
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>>;
}
