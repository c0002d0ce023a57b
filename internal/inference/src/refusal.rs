//! The reasons why a query cannot be the query of a stream, or cannot be understood.

use crate::node::UnreadableTree;

/// The reason for a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The text has more than one statement.
    #[error("several statements; expected one query")]
    SeveralStatements,
    /// The statement returns no rows, or is a command.
    #[error("no query; expected SELECT, VALUES, TABLE or WITH")]
    NotAQuery,
    /// The type of a parameter is not known.
    #[error("a parameter without a type ({0}); write its type, as in $1::bigint[]")]
    Untyped(String),
    /// A table, column, function or schema does not exist.
    #[error("{0}")]
    Undefined(String),
    /// The text is no SQL.
    #[error("{0}")]
    Syntax(String),
    /// The role lacks a right.
    #[error("{0}")]
    Rights(String),
    /// The query or a function in it writes, locks, or acts on the server.
    #[error("it writes or locks ({0}); a stream's query must only read")]
    Writes(String),
    /// The query locks rows.
    #[error("it locks rows; leave out FOR UPDATE and FOR SHARE")]
    Locks,
    /// The query reads a temporary table.
    #[error("it reads the temporary table {0}, which no other session sees")]
    Temporary(String),
    /// The parse tree has an unknown form.
    #[error(transparent)]
    Unreadable(#[from] UnreadableTree),
    /// The database refused the query for another reason.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Other {
        /// The SQLSTATE code.
        sqlstate: String,
        /// The server's message.
        message: String,
    },
}

impl Refusal {
    /// Classifies the server's refusal to parse a query. `routine` is the place in the server's
    /// source that raised it; unlike the message it does not depend on the server's language.
    #[must_use]
    pub fn from_server(sqlstate: &str, message: &str, routine: Option<&str>) -> Self {
        let text = || message.to_owned();
        match sqlstate {
            "42601" if routine == Some("exec_parse_message") => Self::SeveralStatements,
            "42601" => Self::Syntax(text()),
            "42P18" | "42725" => Self::Untyped(text()),
            "42703" | "42P01" | "42883" | "3F000" => Self::Undefined(text()),
            "42501" => Self::Rights(text()),
            "0A000" => Self::NotAQuery,
            _ => Self::Other {
                sqlstate: sqlstate.to_owned(),
                message: text(),
            },
        }
    }

    /// Returns a short name of the reason.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::SeveralStatements => "several",
            Self::NotAQuery => "not-a-query",
            Self::Untyped(_) => "untyped",
            Self::Undefined(_) => "undefined",
            Self::Syntax(_) => "syntax",
            Self::Rights(_) => "rights",
            Self::Writes(_) => "writes",
            Self::Locks => "locks",
            Self::Temporary(_) => "temporary",
            Self::Unreadable(_) => "unreadable",
            Self::Other { .. } => "other",
        }
    }
}
