//! The result: the tables and columns that a query reads.

use std::collections::BTreeSet;
use std::fmt;

use crate::keys::KeyProof;
use crate::note::Note;

/// What a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryReads {
    /// The tables, ordered by schema and name. Views are replaced by what they read.
    pub tables: Vec<TableReads>,
    /// What else is to be said about the query.
    pub notes: BTreeSet<Note>,
    /// The way from each table to the keys, if
    /// [`Exploration::prove_keys`](crate::Exploration::prove_keys) asked for it.
    pub keys: Option<KeyProof>,
}

impl QueryReads {
    /// Returns whether the query compares a timestamp with a date.
    #[must_use]
    pub fn compares_timestamp_with_date(&self) -> bool {
        self.notes.contains(&Note::TimestampWithDate)
    }

    /// Returns whether the query depends on the clock.
    #[must_use]
    pub fn reads_clock(&self) -> bool {
        self.notes
            .iter()
            .any(|note| matches!(note, Note::Clock(_) | Note::ClockLiteral))
    }

    /// Returns the functions whose reads cannot be known.
    pub fn hidden_functions(&self) -> impl Iterator<Item = &str> {
        self.notes.iter().filter_map(|note| match note {
            Note::Hidden(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

/// One table that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReads {
    /// The table's OID.
    pub oid: u32,
    /// The schema's name.
    pub schema: String,
    /// The table's name.
    pub name: String,
    /// The value of `relkind`.
    pub kind: String,
    /// The columns.
    pub columns: ReadColumns,
}

/// The columns of a table that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadColumns {
    /// The whole row, so every column, also one that is added later.
    WholeRow,
    /// These columns. None at all means that only the number of rows counts.
    Named(BTreeSet<String>),
}

impl fmt::Display for ReadColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WholeRow => f.write_str("*"),
            Self::Named(names) => {
                let names: Vec<_> = names.iter().map(String::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}
