//! The reasons why no lookup of a table is proven, with candidates for a person to choose from.

use std::fmt;

use crate::keys::lookup::Lookup;
use crate::keys::problem::{KeyMixing, KeyProblem};

/// The lack of a proof for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotProven {
    /// The reason.
    pub reason: NotProvenReason,
    /// Lookups that may be right, at most [`MAX_SUGGESTIONS`](Self::MAX_SUGGESTIONS). Each may miss
    /// keys, so none must be chosen without a person or a test that tries to refute it.
    pub suggestions: Vec<Suggestion>,
}

impl NotProven {
    /// The largest number of suggestions.
    pub const MAX_SUGGESTIONS: usize = 6;
}

/// A lookup that may be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The lookups; several if the table is read in several places.
    pub lookups: Vec<Lookup>,
    /// The source of the suggestion.
    pub origin: SuggestionOrigin,
}

/// The source of a suggestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuggestionOrigin {
    /// The equalities of the query give it, but something else stands against the proof.
    Query,
    /// The table has columns with the names and types of the key parts.
    ColumnNames,
    /// A path of foreign keys leads to a table with such columns.
    ForeignKeys,
}

/// The reason why no lookup of a table is proven. The texts complete «the keys of this table's rows
/// are not known: …», and say what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotProvenReason {
    /// The key itself is not understood.
    Key(KeyProblem),
    /// No chain of equalities leads from the table to the key.
    NoPath,
    /// The chain passes a clause whose result depends on rows of other keys.
    Boundary(KeyMixing),
    /// The table is read in a recursive query.
    Recursive,
    /// A function, or a policy of row-level security, reads the table.
    InFunction,
    /// The query reads a sample of the table.
    Sampled,
    /// The parts of the key come from rows that one statement may change together.
    ChangedTogether,
    /// The last column of the chain spells keys in another way than the parameter.
    KeyType,
    /// A part of the query that reads the table is not understood.
    NotUnderstood,
    /// The search was given up.
    TooComplex,
}

impl fmt::Display for NotProvenReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(problem) => problem.fmt(f),
            Self::NoPath => f.write_str(
                "no equalities of plain columns lead from it to the key; write `via`, or let every change concern every key",
            ),
            Self::Boundary(how) => write!(
                f,
                "{} between it and the key, so a row may alter the results of other keys; let every change concern every key",
                match how {
                    KeyMixing::Limit => "LIMIT or OFFSET stands",
                    KeyMixing::Group => "an aggregate over several keys stands",
                    KeyMixing::Window => "a window over several keys stands",
                    KeyMixing::DistinctOn => "DISTINCT ON over several keys stands",
                }
            ),
            Self::Recursive => f.write_str(
                "a recursive query reads it; write `via` with the same recursion, or let every change concern every key",
            ),
            Self::InFunction => f.write_str(
                "a function or a policy of row-level security reads it; write `via`, or let every change concern every key",
            ),
            Self::Sampled => f.write_str("TABLESAMPLE reads other rows each time; leave it out"),
            Self::ChangedTogether => f.write_str(
                "the key parts come from rows that one statement may change together, such as by ON DELETE CASCADE; let every change concern every key, or confirm a suggestion",
            ),
            Self::KeyType => f.write_str(
                "the column that holds the key has another type than the parameter; give the parameter the column's type",
            ),
            Self::NotUnderstood => f.write_str(
                "a part of the query that reads it is not understood; write `via`, or let every change concern every key",
            ),
            Self::TooComplex => f.write_str(
                "the query has too many joins for the search; write `via`, or let every change concern every key",
            ),
        }
    }
}
