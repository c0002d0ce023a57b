//! Errors of installing and removing triggers.

use tokio_postgres::error::SqlState;

use crate::error::DatabaseError;

/// The reason why triggers could not be installed or removed; nothing was changed in that case.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Tables that cannot have triggers, all of them at once. Each text names the stream, the table
    /// and the expected form.
    #[error("{}", .0.join("\n"))]
    UnsupportedTables(Vec<String>),
    /// Another session holds a lock on the table for a long time: a long transaction, a migration,
    /// or a VACUUM FULL.
    #[error(
        "{subject} is locked by another session; nothing was changed. Try again when the long transaction on it has ended"
    )]
    Locked {
        /// The qualified name of the table.
        subject: String,
    },
    /// The role lacks the privileges for this.
    #[error(
        "{subject}: {message}. Nothing was changed; install as the owner of the tables, with CREATE on the database, \
         or run the output of `latido install --dry-run` as such a role"
    )]
    PermissionDenied {
        /// The qualified name of the table.
        subject: String,
        /// The message text of the server.
        message: String,
    },
    /// Any other error of the database.
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl InstallError {
    pub(super) fn from_driver(subject: String, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE => Self::PermissionDenied {
                subject,
                message: db.message().to_owned(),
            },
            _ => Self::Database(DatabaseError::from_driver(&subject, error)),
        }
    }
}
