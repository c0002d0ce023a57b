//! Errors of statements, classified by the possible reaction to them.

use std::error::Error as _;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// The server's functions that raise errors which share their SQLSTATE with others. Unlike the
/// message, this field of an error does not depend on `lc_messages`. The names are those of
/// PostgreSQL 14 to 18: `rls.c`, `plancache.c` and `utility.c`.
const ROW_SECURITY_ROUTINE: &str = "check_enable_rls";
const STALE_PLAN_ROUTINE: &str = "RevalidateCachedQuery";
const RECOVERY_ROUTINE: &str = "PreventCommandDuringRecovery";

/// The two remedies for [`DatabaseError::RowSecurity`]. With `row_security = off` PostgreSQL refuses
/// a role that any policy concerns, even one that shows it every row, so a policy needs the setting.
pub(super) const ROW_SECURITY_REMEDY: &str = "ALTER ROLE … BYPASSRLS, \
     or CREATE POLICY … FOR SELECT TO … USING (true) and set ROW_SECURITY=true";

/// A key column that spells keys in another way than the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream {stream}: the key {column} of table {table} is {column_type}, but {parameter} of the query is {parameter_type}: \
     a key may be spelled in two ways, and then its changes are missed; {remedy}"
)]
pub struct KeyMismatch {
    /// The stream's name.
    pub stream: String,
    /// The table's name as configured.
    pub table: String,
    /// The key's column.
    pub column: String,
    /// The column's type.
    pub column_type: String,
    /// The parameter of the query that holds this part of the keys, such as `$1`.
    pub parameter: String,
    /// The type of the parameter.
    pub parameter_type: String,
    /// The change that makes both agree.
    pub remedy: String,
}

/// The reason for a failed statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// The server cannot be reached, does not respond, or is starting, stopping or full. The same
    /// statement may succeed later.
    #[error("the database is not available: {reason}")]
    Unavailable {
        /// The cause, for the log.
        reason: String,
    },
    /// The server refused this statement, or cancelled it at the time-out. It will fail again until
    /// something changes.
    #[error("the database refused {what}: {message} (SQLSTATE {sqlstate})")]
    Rejected {
        /// The purpose of the statement, such as `the query of stream …`.
        what: String,
        /// The SQLSTATE code of five characters.
        sqlstate: String,
        /// The message text of the server.
        message: String,
    },
    /// Row-level security would hide rows from this role, so the statement was refused rather than
    /// answered with fewer rows.
    #[error(
        "the database refused {what}: {message} (SQLSTATE 42501); row-level security would hide rows from this role: {}",
        ROW_SECURITY_REMEDY
    )]
    RowSecurity {
        /// The purpose of the statement, as for `Rejected`.
        what: String,
        /// The message text of the server, which names the table.
        message: String,
    },
    /// A table spells the stream's keys in another way than the server.
    #[error("{0}")]
    KeyMismatch(Box<KeyMismatch>),
    /// The statement is valid SQL but does not have the form that a stream needs.
    #[error("{what}: expected {expected}, found {found}")]
    Unfit {
        /// The purpose of the statement, as for `Rejected`.
        what: String,
        /// The form that was expected.
        expected: String,
        /// The form that was found.
        found: String,
    },
}

impl DatabaseError {
    /// Returns a label from a closed list, for metrics: `unavailable`, `rejected` or `unfit`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } | Self::RowSecurity { .. } => "rejected",
            Self::Unfit { .. } | Self::KeyMismatch(_) => "unfit",
        }
    }

    /// Returns whether a query names a table that does not exist. A missing table of a stream is told
    /// with its tables, unless an app creates it.
    #[must_use]
    pub fn is_missing_table(&self) -> bool {
        self.sqlstate() == Some(SqlState::UNDEFINED_TABLE.code())
    }

    /// Returns the server's SQLSTATE, if the server refused the statement.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Rejected { sqlstate, .. } => Some(sqlstate),
            Self::RowSecurity { .. } => Some(SqlState::INSUFFICIENT_PRIVILEGE.code()),
            Self::Unavailable { .. } | Self::Unfit { .. } | Self::KeyMismatch(_) => None,
        }
    }

    /// Creates the error of a database that cannot be reached now.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
        }
    }

    /// Creates the error of a database that does not fit: `what` should be `expected`, and is
    /// `found`.
    pub fn unfit(
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

    /// Classifies a driver error of a statement with the purpose `what`.
    pub fn from_driver(what: &str, error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::unavailable(error_text(error));
        };
        if ErrorScope::classify(error) == ErrorScope::Statement {
            let (sqlstate, message) = (db.code().code().to_owned(), db.message().to_owned());
            let what = what.to_owned();
            if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE
                && db.routine() == Some(ROW_SECURITY_ROUTINE)
            {
                return Self::RowSecurity { what, message };
            }
            return Self::Rejected {
                what,
                sqlstate,
                message,
            };
        }
        Self::unavailable(error_text(error))
    }

    /// Classifies an error of the connection pool.
    pub(super) fn from_pool(error: &PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::unavailable(error_text(error)),
            PoolError::Timeout(TimeoutType::Wait) => {
                Self::unavailable("every connection of the pool is busy")
            }
            PoolError::Timeout(_) => Self::unavailable("no connection within the connect time-out"),
            PoolError::Closed => Self::unavailable("the pool is closed"),
            other => Self::unavailable(other.to_string()),
        }
    }
}

/// The scope of an error, which decides whether and how to retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorScope {
    /// The connection is no longer usable; a new one may work.
    Connection,
    /// The server has no capacity or no time; a new connection would not help.
    Busy,
    /// The prepared statement no longer fits the tables; preparing it again helps.
    StalePlan,
    /// Named statements do not survive: a pooler shares server connections among clients.
    SharedSession,
    /// The statement itself is the cause.
    Statement,
}

impl ErrorScope {
    pub(super) fn classify(error: &tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self::Connection;
        };
        let code = db.code();
        if *code == SqlState::INVALID_SQL_STATEMENT_NAME || *code == SqlState::DUPLICATE_PSTATEMENT
        {
            return Self::SharedSession;
        }
        if *code == SqlState::FEATURE_NOT_SUPPORTED && db.routine() == Some(STALE_PLAN_ROUTINE) {
            return Self::StalePlan;
        }
        // A standby that took over the address of a primary reports this code. So does a query that
        // writes, on every connection.
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION && db.routine() == Some(RECOVERY_ROUTINE) {
            return Self::Connection;
        }
        match &code.code()[..2] {
            "08" => Self::Connection,
            // A statement's time-out: the statement is too slow, but the database responds.
            "57" if *code == SqlState::QUERY_CANCELED => Self::Statement,
            "57" => Self::Connection,
            "53" | "40" | "55" | "58" => Self::Busy,
            _ if is_fatal(db) => Self::Connection,
            _ => Self::Statement,
        }
    }
}

/// Returns whether the server ended the session. The severity's text depends on `lc_messages`; only
/// poolers leave out the other form, and they write English.
fn is_fatal(error: &DbError) -> bool {
    match error.parsed_severity() {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => matches!(error.severity(), "FATAL" | "PANIC"),
    }
}

/// Returns the error and its causes in one line. The driver's own text alone is only «db error».
pub(super) fn error_text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Some errors include the text of their cause.
        let next = cause.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = cause.source();
    }
    text
}
