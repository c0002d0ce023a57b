//! The way from a changed row of a table to its keys, as the triggers go it. Pure.

use serde::{Deserialize, Serialize};

use crate::key_kind::KeyKind;
use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::key_part::KeyColumn;

/// The way from a changed row to the keys that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableRoute {
    /// The columns of the row that hold the key parts. A stream without a key has none.
    Columns(Vec<KeyColumn>),
    /// A query finds the keys.
    Lookup(TableLookup),
    /// Every change concerns every key.
    EveryKey,
}

/// The place where triggers ask whether a server watches anything of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Nowhere: the database has no interest gate, so that every change is told.
    None,
    /// In the condition of the triggers, so that the function does not even start.
    InWhen,
}

/// A query over `changed`, the old and new versions of the changed rows, that returns their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableLookup {
    /// The query, one statement without a semicolon.
    pub sql: String,
    /// SQL that sets the search path by which the query finds its tables.
    pub path_sql: String,
    /// What the database says about the query, once it was asked.
    pub facts: Option<LookupFacts>,
}

/// What the database says about a lookup. The comment of its trigger function notes it, so that a
/// server can tell what is installed without the right to create anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LookupFacts {
    /// The kinds of the key parts that it returns.
    pub parts: Vec<KeyKind>,
    /// The names of the columns that it returns.
    pub names: Vec<String>,
    /// What it reads of the changed rows.
    pub arguments: Vec<LookupArgument>,
    /// The tables that it reads beside the changed rows.
    pub path: Vec<PathTable>,
    /// The functions and operators outside of `pg_catalog` that it calls. They run as its owner.
    pub functions: Vec<String>,
}

/// An array parameter of the lookup function: what a query reads of the changed rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LookupArgument {
    /// One column.
    Column {
        name: String,
        /// The SQL name of the column's type.
        data_type: String,
        /// SQL for the collation, if it is not the type's own. It may take different texts for
        /// equal.
        collation: Option<String>,
        /// True if values that the type's equality takes for one may have several texts, such as 7.0
        /// and 7.00, or if the type has no equality.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_compared_as_text: bool,
    },
    /// The whole row: the table with all its columns, in their order.
    Row {
        schema: String,
        table: String,
        columns: Vec<String>,
    },
}

impl LookupArgument {
    /// Returns the SQL type of one row's value.
    pub(super) fn data_type(&self) -> String {
        match self {
            Self::Column { data_type, .. } => data_type.clone(),
            Self::Row { schema, table, .. } => quote_qualified(schema, table),
        }
    }

    /// Returns SQL for the value in a row.
    pub(super) fn of_row(&self, row: &str) -> String {
        match self {
            Self::Column { name, .. } => format!("{row}.{}", quote_ident(name)),
            Self::Row { columns, .. } => {
                let columns: Vec<_> = columns
                    .iter()
                    .map(|name| format!("{row}.{}", quote_ident(name)))
                    .collect();
                format!("ROW({})::{}", columns.join(", "), self.data_type())
            }
        }
    }

    /// Returns SQL for the value in a row, in a form that has an equality, and SQL that turns such a
    /// form back.
    pub(super) fn comparable(&self, row: &str, form: &str) -> (String, String) {
        match self {
            Self::Column {
                is_compared_as_text: true,
                ..
            } => (
                format!("{}::text COLLATE \"C\"", self.of_row(row)),
                format!("{form}::{}", self.data_type()),
            ),
            Self::Column { collation, .. } => {
                let bytes = collation.as_ref().map(|_| " COLLATE \"C\"");
                let value = format!("{}{}", self.of_row(row), bytes.unwrap_or_default());
                (value, form.to_owned())
            }
            Self::Row { .. } => (
                format!("{}::text", self.of_row(row)),
                format!("{form}::{}", self.data_type()),
            ),
        }
    }
}

/// A table through which a lookup goes. Who changes a row of it may move rows below it to other keys,
/// which no trigger below it can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PathTable {
    pub schema: String,
    pub table: String,
    /// The columns that the lookup reads. Empty means all.
    pub columns: Vec<String>,
    /// The relations that get triggers: the table and the tables that inherit from it, but no
    /// partitions, to which PostgreSQL adds them.
    pub relations: Vec<(String, String)>,
    /// True if an INSERT may move rows: nothing makes sure that no row below was there before.
    pub is_moved_by_insert: bool,
    /// True if a DELETE may move rows: the lookup can find a key because a row is absent, and nothing
    /// makes sure that no row below is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_moved_by_delete: bool,
    /// True if rows may move to keys that the changed row does not tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moves_elsewhere: bool,
    /// The way to the new key of a row.
    pub key: MoveKey,
}

/// The way to the keys that a moved row concerns afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MoveKey {
    /// Columns of the row hold them, once or more often.
    Columns(Vec<Vec<KeyColumn>>),
    /// A lookup of the stream finds them.
    Lookup {
        function: String,
        arguments: Vec<LookupArgument>,
        part_count: usize,
    },
    /// Nothing can say: any key may be concerned.
    Unknown,
}
