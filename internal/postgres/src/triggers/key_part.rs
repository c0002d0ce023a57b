//! The parts of a key in a trigger: the columns that hold them, and the SQL for their texts. Pure.

use serde::{Deserialize, Serialize};

use crate::key_kind::KeyKind;
use crate::quote::quote_ident;
use crate::watch_locks::hash_parts_sql;
use latido_stream::MAX_KEY_BYTES;

/// A column that holds a key part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyColumn {
    pub name: String,
    pub kind: KeyKind,
}

impl KeyColumn {
    /// Returns SQL for the column of a row.
    pub(super) fn of_row(&self, row: &str) -> String {
        format!("{row}.{}", quote_ident(&self.name))
    }

    /// Returns SQL for the text of the part in a row.
    pub(super) fn text_of_row(&self, row: &str) -> String {
        self.kind.text_sql(&self.of_row(row))
    }
}

/// Returns SQL for the texts of a key's parts in a row, as an array.
pub(crate) fn texts_sql(columns: &[KeyColumn], row: &str) -> String {
    let texts: Vec<_> = columns
        .iter()
        .map(|column| format!("{} COLLATE pg_catalog.\"C\"", column.text_of_row(row)))
        .collect();
    format!("ARRAY[{}]::pg_catalog.text[]", texts.join(", "))
}

/// Returns SQL that is true if a row has all parts of its key. The texts are tested, because a date
/// without one concerns no topic either.
pub(crate) fn has_key_sql(columns: &[KeyColumn], row: &str) -> String {
    let present: Vec<_> = columns
        .iter()
        .map(|column| format!("{} IS NOT NULL", column.text_of_row(row)))
        .collect();
    match present.is_empty() {
        true => "true".to_owned(),
        false => present.join(" AND "),
    }
}

/// SQL about a key whose parts are the texts of these expressions.
pub(super) struct KeySql(pub(super) Vec<String>);

impl KeySql {
    /// Names the parts `name1`, `name2` and so on, for example `v.k1`.
    pub(super) fn numbered(name: &str, count: usize) -> Self {
        Self((1..=count).map(|n| format!("{name}{n}")).collect())
    }

    /// Returns SQL for the key in a payload (see [`crate::change_hint`]): a JSON string for one
    /// part, else an array of strings.
    pub(super) fn item(&self) -> String {
        match self.0.as_slice() {
            [one] => format!("pg_catalog.to_json({one})::pg_catalog.text"),
            parts => format!(
                "pg_catalog.to_json(ARRAY[{}]::pg_catalog.text[])::pg_catalog.text",
                parts.join(", ")
            ),
        }
    }

    /// Returns SQL for the hash of the watch locks. `stream` is SQL for its name.
    pub(super) fn hash(&self, stream: &str) -> String {
        hash_parts_sql(stream, &self.0)
    }

    /// Returns SQL that is true if the key is longer than any that can be watched.
    pub(super) fn is_too_long(&self) -> String {
        let lengths: Vec<_> = self
            .0
            .iter()
            .map(|part| format!("pg_catalog.octet_length({part})"))
            .collect();
        let length = match lengths.is_empty() {
            true => "0".to_owned(),
            false => lengths.join(" OPERATOR(pg_catalog.+) "),
        };
        format!("{length} OPERATOR(pg_catalog.>) {MAX_KEY_BYTES}")
    }
}
