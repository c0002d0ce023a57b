//! What can go wrong with a statement, sorted by what the caller can do about it.

use std::error::Error as _;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::SqlState;

/// Why a statement brought no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The server could not be reached, does not answer, or is starting, stopping or full: the same statement may work later.
    #[error("the database is not available: {reason}")]
    Unavailable {
        /// What happened, for the log.
        reason: String,
    },
    /// The server refused this very statement, or cut it off at the time-out: it will do so again until something changes.
    #[error("the database refused {what}: {message} (SQLSTATE {sqlstate})")]
    Rejected {
        /// Whose statement it was: `the query of stream …`.
        what: String,
        /// The five characters of the SQLSTATE.
        sqlstate: String,
        /// The server's own message.
        message: String,
    },
    /// The statement is valid SQL but not what a stream needs.
    #[error("{what}: expected {expected}, found {found}")]
    Unfit {
        /// Whose statement it was.
        what: String,
        /// What it should have been.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl DatabaseError {
    /// A label of a closed list, for metrics: `unavailable`, `rejected` or `unfit`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } => "rejected",
            Self::Unfit { .. } => "unfit",
        }
    }

    /// The server's own code, if it refused the statement.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Rejected { sqlstate, .. } => Some(sqlstate),
            Self::Unavailable { .. } | Self::Unfit { .. } => None,
        }
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
        }
    }

    pub(super) fn unfit(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Unfit {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// Sorts a driver's error on a statement of `what`.
    pub(super) fn of(what: &str, error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::unavailable(describe(error));
        };
        if Verdict::of(error) == Verdict::Statement {
            let (sqlstate, message) = (db.code().code().to_owned(), db.message().to_owned());
            return Self::Rejected {
                what: what.to_owned(),
                sqlstate,
                message,
            };
        }
        Self::unavailable(describe(error))
    }

    /// Sorts the pool's error.
    pub(super) fn of_pool(error: &PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::unavailable(describe(error)),
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::unavailable("every connection of the pool is busy")
            }
            PoolError::Timeout(_) => Self::unavailable("no connection within the connect time-out"),
            PoolError::Closed => Self::unavailable("the pool is closed"),
            other => Self::unavailable(other.to_string()),
        }
    }
}

/// What an error says about connection and statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The connection is of no use any more; a fresh one may well be.
    Connection,
    /// The server has no room or no time; a fresh connection would not help.
    Busy,
    /// The prepared form no longer fits the tables; preparing again helps.
    Stale,
    /// Named statements do not survive here: somebody shares our server connections among clients.
    Shared,
    /// The statement itself.
    Statement,
}

impl Verdict {
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Connection;
        };
        let code = db.code();
        if *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT
        {
            return Self::Shared;
        }
        if *code == SqlState::FEATURE_NOT_SUPPORTED && db.message().contains("cached plan") {
            return Self::Stale;
        }
        // A standby that took over the address of a primary says so here; so does a query that writes, on every connection.
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION && db.message().contains("recovery") {
            return Self::Connection;
        }
        match &code.code()[..2] {
            "08" => Self::Connection,
            // The time-out of a statement: it is the statement that is too slow, while the database answers.
            "57" if *code == SqlState::QUERY_CANCELED => Self::Statement,
            "57" => Self::Connection,
            "53" | "40" | "55" | "58" => Self::Busy,
            _ if matches!(db.severity(), "FATAL" | "PANIC") => Self::Connection,
            _ => Self::Statement,
        }
    }
}

/// The error and its causes in one line. The driver's own text alone is «db error».
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
