//! One lookup: the columns or the SELECT that give the keys of changed rows.

use std::fmt;

/// One way from the changed rows of a table to keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lookup {
    /// These columns of the row itself are the key parts, in order. The names are not quoted.
    Columns(Vec<String>),
    /// A SELECT over `changed` returns the key parts.
    Select {
        /// The statement. Tables have their schemas, and names are quoted where SQL needs it.
        sql: String,
        /// The columns passed, for people: `order_id > orders.shop_id`.
        path: String,
    },
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Columns(columns) => f.write_str(&columns.join(", ")),
            Self::Select { path, .. } => f.write_str(path),
        }
    }
}
