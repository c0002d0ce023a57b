//! Why triggers could not be installed.

use tokio_postgres::error::SqlState;

use crate::postgres::error::DatabaseError;

/// Why triggers could not be installed or removed; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Tables that cannot carry triggers, all of them at once; each text names stream, table and what was expected.
    #[error("{}", .0.join("\n"))]
    Tables(Vec<String>),
    /// Somebody holds a lock on it for long: a long transaction, a migration, a VACUUM FULL.
    #[error(
        "{subject} is locked by another session; nothing was changed. Try again when the long transaction on it has ended"
    )]
    Locked {
        /// The table.
        subject: String,
    },
    /// The role may not do this.
    #[error(
        "{subject}: {message}. Nothing was changed; install as the owner of the tables, with CREATE on the database, \
         or give somebody who may the output of `latido install --dry-run`"
    )]
    Forbidden {
        /// The table.
        subject: String,
        /// The server's own message.
        message: String,
    },
    /// Anything else that the database says.
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl InstallError {
    pub(super) fn of(subject: String, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE => Self::Forbidden {
                subject,
                message: db.message().to_owned(),
            },
            _ => Self::Database(DatabaseError::of(&subject, error)),
        }
    }
}
