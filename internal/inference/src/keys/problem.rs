//! The reasons why the key of a query is not understood.

use std::fmt;

/// The reason why the key of a query is not understood. `part` counts from 1, like the parameters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The query has fewer outputs than key parts.
    #[error(
        "the query returns {found} columns; expected the {expected} key parts first, and the data behind them"
    )]
    TooFewOutputs {
        /// The number of outputs.
        found: usize,
        /// The number of key parts.
        expected: usize,
    },
    /// The query never reads the parameter of a key part.
    #[error("the query does not use ${part}; read the keys from unnest(${part}::…[])")]
    Unused {
        /// The key part.
        part: usize,
    },
    /// The query reads the parameter of a key part in several places.
    #[error(
        "the query uses ${part} several times, so the row of one key may depend on the other keys of a read; use it once, in unnest"
    )]
    UsedTwice {
        /// The key part.
        part: usize,
    },
    /// The row of one key depends on the other keys that are read with it.
    #[error(
        "{how}, so the row of one key depends on the other keys of a read; compute each row in a LATERAL sub-select"
    )]
    Mixed {
        /// The key part.
        part: usize,
        /// The clause that mixes them.
        how: KeyMixing,
    },
    /// The output is not recognised as the key part.
    #[error(
        "output {part} ({output}) is not known to equal ${part}; read the keys by unnest(${part}::…[]) in FROM and return its column itself, or return a column that is compared with it by ="
    )]
    NotTheKey {
        /// The key part.
        part: usize,
        /// The name of the output.
        output: String,
    },
    /// The tree has a form that is not understood.
    #[error("the query has a form that is not understood, so nothing is proven about its keys")]
    NotUnderstood,
}

impl KeyProblem {
    /// Returns whether the query gives wrong rows when several keys are read together.
    #[must_use]
    pub fn mixes_keys(&self) -> bool {
        matches!(self, Self::UsedTwice { .. } | Self::Mixed { .. })
    }
}

/// The clause that makes the rows of several keys depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMixing {
    /// LIMIT, OFFSET or FETCH at the top.
    Limit,
    /// An aggregate at the top without the key part in GROUP BY, or with several grouping sets.
    Group,
    /// A window function without the key part in its PARTITION BY.
    Window,
    /// DISTINCT ON without the key part.
    DistinctOn,
}

impl fmt::Display for KeyMixing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit => "LIMIT or OFFSET at the top counts the rows of all keys",
            Self::Group => "an aggregate at the top is not grouped by each key part",
            Self::Window => "a window at the top is not partitioned by each key part",
            Self::DistinctOn => "DISTINCT ON at the top lacks a key part",
        })
    }
}
