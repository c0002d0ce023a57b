//! What an installation did to one table or function.

use crate::error::DatabaseError;

/// The effect of an installation on one table or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstallChange {
    /// The triggers of a table were installed. The text names the table and its stream.
    Installed(String),
    /// The triggers existed and were current.
    Unchanged(String),
    /// The triggers were removed, because their stream or table is no longer configured.
    Removed(String),
    /// The database refuses a query, so that no server will serve the stream. Its triggers were
    /// installed all the same.
    Refused(DatabaseError),
    /// The keys and tables of a stream that its query decides.
    Inferred(String),
    /// No triggers were installed for a stream, because its query does not tell what they have to
    /// watch. The text says why, and what to write where a person has to choose.
    LeftOut(String),
    /// Nothing changed, but something deserves attention.
    Warning(String),
}
