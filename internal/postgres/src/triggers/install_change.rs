//! What an installation did to one table or function.

use crate::error::DatabaseError;

/// The effect of an installation on one table or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallChange {
    /// The triggers of the table were installed.
    Installed(String),
    /// The triggers existed and were current.
    Unchanged(String),
    /// The triggers were removed, because their stream or table is no longer configured.
    Removed(String),
    /// The database refuses a query, so that no server will serve the stream. Its triggers were
    /// installed all the same.
    Refused(DatabaseError),
    /// Nothing changed, but something deserves attention.
    Warning(String),
}
