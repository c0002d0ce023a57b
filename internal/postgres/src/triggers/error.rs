//! Errors of installing and removing triggers.

use tokio_postgres::error::SqlState;

use super::ownership::NOT_OWNED_CODE;
use crate::error::{DatabaseError, KeyMismatch};
use crate::instance::InstanceName;
use crate::key_kind::KEY_COLUMN_TYPES;

/// The reason why a stream's table cannot have the stream's triggers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// There is no such table.
    #[error("stream {stream}: no table {table}; looked in the schemas {searched}")]
    NotFound {
        /// The stream's name.
        stream: String,
        /// The table's name as configured.
        table: String,
        /// The schemas of the search path.
        searched: String,
    },
    /// A part of the server other than a stream needs a table that is not there.
    #[error(
        "{part}: no table {table}; looked in the schemas {searched}; run `latido install` first"
    )]
    NotInstalled {
        /// The app's name, or what else needs the table.
        part: String,
        /// The table's name.
        table: String,
        /// The schemas of the search path.
        searched: String,
    },
    /// The relation has no triggers with transition tables.
    #[error("stream {stream}: {table} is {kind}; expected a table, for only tables have triggers")]
    NotATable {
        /// The stream's name.
        stream: String,
        /// The relation's name as configured.
        table: String,
        /// The kind of the relation, with its article.
        kind: &'static str,
    },
    /// The table lacks columns that the stream names.
    #[error("stream {stream}: table {table} has no column {missing}; it has {existing}{}", renamed_text(.renamed))]
    NoColumn {
        /// The stream's name.
        stream: String,
        /// The table's name as configured.
        table: String,
        /// The missing columns, separated by commas.
        missing: String,
        /// The table's columns, separated by commas.
        existing: String,
        /// The missing columns that have another name since the last installation, with that name.
        renamed: Vec<(String, String)>,
    },
    /// The key column has a type that is no key's.
    #[error(
        "stream {stream}: the key {column} of table {table} is {data_type}; \
         expected {}",
        KEY_COLUMN_TYPES
    )]
    KeyType {
        /// The stream's name.
        stream: String,
        /// The table's name as configured.
        table: String,
        /// The key's column.
        column: String,
        /// The column's type.
        data_type: String,
    },
    /// The lookup of the table's keys has not the form that the stream needs.
    #[error("stream {stream}: `via` of table {table}: {problem}; expected {expected}")]
    Lookup {
        /// The stream's name.
        stream: String,
        /// The table's name.
        table: String,
        /// What is wrong with it.
        problem: String,
        /// The form that it should have.
        expected: String,
    },
}

/// Returns what to do about renamed columns, or nothing.
fn renamed_text(renamed: &[(String, String)]) -> String {
    if renamed.is_empty() {
        return String::new();
    }
    format!(
        ". It was renamed ({}): write the new name in the stream's query, `key` and `columns`, then run `latido install`",
        renamed_pairs(renamed)
    )
}

fn renamed_pairs(renamed: &[(String, String)]) -> String {
    let pairs: Vec<_> = renamed
        .iter()
        .map(|(old, new)| format!("{old} to {new}"))
        .collect();
    pairs.join(", ")
}

impl TableProblem {
    /// Returns the name of the stream that the problem concerns, if it concerns one.
    #[must_use]
    pub fn stream(&self) -> Option<&String> {
        match self {
            Self::NotFound { stream, .. }
            | Self::NotATable { stream, .. }
            | Self::NoColumn { stream, .. }
            | Self::KeyType { stream, .. }
            | Self::Lookup { stream, .. } => Some(stream),
            Self::NotInstalled { .. } => None,
        }
    }

    /// Returns one sentence about renamed columns, if they are the problem.
    pub(crate) fn renamed_summary(&self) -> Option<String> {
        match self {
            Self::NoColumn { table, renamed, .. } if !renamed.is_empty() => Some(format!(
                "columns of table {table} were renamed ({}): change the stream's configuration, then run `latido install`",
                renamed_pairs(renamed)
            )),
            _ => None,
        }
    }
}

/// The reason why a table could not be found in the database.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiscoveryError {
    /// The table cannot have the triggers.
    #[error(transparent)]
    Table(#[from] TableProblem),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// The reason why triggers could not be installed or removed; nothing was changed in that case.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Tables that cannot have triggers, all of them at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    UnsupportedTables(Vec<TableProblem>),
    /// Key columns that spell keys in another way than the server, all of them at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    KeyMismatches(Vec<KeyMismatch>),
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
    /// Objects of the names that the installation needs belong to other roles.
    #[error(
        "{subject} can't be installed upon what belongs to another role: {objects}. Nothing was changed; \
         install as that role, or drop these if they are nobody's"
    )]
    NotOwned {
        /// The description of what was to be installed.
        subject: String,
        /// The objects with their owners.
        objects: String,
    },
    /// Another installation on the same database made these objects, in another version.
    #[error(
        "{subject} belong to the installation {instance}, which has another version of them. Nothing was changed; \
         upgrade that one, or give this one a schema of its own (search_path in the URL)"
    )]
    OtherInstance {
        /// The description of what was to be installed.
        subject: String,
        /// The name of the other installation.
        instance: InstanceName,
    },
    /// Several mistakes of the configuration, all of them at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<Self>),
    /// Any other error of the database.
    #[error("{0}")]
    Database(#[from] DatabaseError),
}

impl InstallError {
    /// Returns these mistakes as one error. A single one stays as it is.
    pub(crate) fn all(mut mistakes: Vec<Self>) -> Self {
        match (mistakes.pop(), mistakes.is_empty()) {
            (Some(only), true) => only,
            (last, _) => Self::Several(mistakes.into_iter().chain(last).collect()),
        }
    }

    /// Returns the tables that cannot have triggers.
    pub fn table_problems(&self) -> Vec<&TableProblem> {
        match self {
            Self::UnsupportedTables(problems) => problems.iter().collect(),
            Self::Several(errors) => errors.iter().flat_map(Self::table_problems).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn from_driver(subject: String, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::INSUFFICIENT_PRIVILEGE => Self::PermissionDenied {
                subject,
                message: db.message().to_owned(),
            },
            Some(db) if db.code().code() == NOT_OWNED_CODE => Self::NotOwned {
                subject,
                objects: db.message().to_owned(),
            },
            _ => Self::Database(DatabaseError::from_driver(&subject, error)),
        }
    }
}
