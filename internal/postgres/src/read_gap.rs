//! Compares what a query reads with the tables that its stream lists. Pure.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::triggers::watched_table::WatchedTable;
use latido_inference::{QueryReads, ReadColumns, TableReads};

/// The columns that every table has and that any UPDATE may change.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];

/// A table that a query reads, as far as triggers can watch it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadTable {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// `None` is the whole row.
    pub(crate) columns: Option<BTreeSet<String>>,
}

impl ReadTable {
    /// Returns the tables of a query that can have triggers.
    pub(crate) fn all(reads: &QueryReads) -> Vec<Self> {
        let can_have_triggers = |table: &&TableReads| matches!(table.kind.as_str(), "r" | "p");
        let tables = reads.tables.iter().filter(can_have_triggers);
        tables.map(Self::from_reads).collect()
    }

    pub(crate) fn from_reads(table: &TableReads) -> Self {
        let columns = match &table.columns {
            ReadColumns::WholeRow => None,
            ReadColumns::Named(names)
                if names
                    .iter()
                    .any(|name| SYSTEM_COLUMNS.contains(&name.as_str())) =>
            {
                None
            }
            ReadColumns::Named(names) => Some(names.clone()),
        };
        Self {
            schema: table.schema.clone(),
            table: table.name.clone(),
            columns,
        }
    }

    /// Returns the name in the form of the configuration.
    pub(crate) fn name(&self) -> String {
        if self.schema == "public" {
            self.table.clone()
        } else {
            format!("{}.{}", self.schema, self.table)
        }
    }

    fn is_watched_by(&self, watched: &WatchedTable) -> bool {
        let own = (&self.schema, &self.table);
        watched
            .relations
            .iter()
            .any(|(schema, table)| own == (schema, table))
    }
}

/// A difference between what a query reads and what its stream lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadGap {
    /// The stream does not list a table.
    UnlistedTable {
        /// The table's name.
        table: String,
        /// The columns that the query reads.
        columns: String,
    },
    /// The stream lists a table, but not all columns that the query reads.
    UnlistedColumns {
        /// The table's name.
        table: String,
        /// The columns that are missing.
        missing: String,
        /// The list that would be complete.
        complete: String,
    },
    /// The query reads the whole row, but the stream lists columns.
    WholeRow {
        /// The table's name.
        table: String,
    },
    /// The stream lists a table that the query does not read.
    UnreadTable {
        /// The table's name.
        table: String,
    },
    /// The query is not the one for which `latido install` ran.
    QueryChanged,
}

impl ReadGap {
    /// Returns what to do about it in a stream.
    pub fn remedy(&self, stream: &str) -> String {
        match self {
            Self::UnlistedTable { table, .. } => {
                format!(
                    "add [[streams.{stream}.tables]] with table = {table:?}, then run `latido install`"
                )
            }
            Self::UnlistedColumns { complete, .. } => {
                format!("columns = [{complete}], then run `latido install`")
            }
            Self::WholeRow { .. } => {
                "leave out `columns`, so that every column counts, then run `latido install`"
                    .to_owned()
            }
            Self::UnreadTable { .. } => {
                "remove the table from the stream, then run `latido install`".to_owned()
            }
            Self::QueryChanged => "run `latido install`".to_owned(),
        }
    }
}

impl fmt::Display for ReadGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnlistedTable { table, columns } if columns.is_empty() => write!(
                f,
                "the query reads {table}, which the stream does not list: the sweep alone finds its changes"
            ),
            Self::UnlistedTable { table, columns } => write!(
                f,
                "the query reads {table} ({columns}), which the stream does not list: the sweep alone finds its changes"
            ),
            Self::UnlistedColumns { table, missing, .. } => write!(
                f,
                "the query reads {missing} of {table}, which `columns` does not list: the sweep alone finds an UPDATE of it"
            ),
            Self::WholeRow { table } => write!(
                f,
                "the query reads the whole row of {table}, but `columns` lists only some: the sweep alone finds an UPDATE of others"
            ),
            Self::UnreadTable { table } => write!(
                f,
                "the stream lists {table}, which the query does not read: its changes cause needless reads"
            ),
            Self::QueryChanged => f.write_str(
                "the query has changed since `latido install`, which compares it with the tables",
            ),
        }
    }
}

/// Returns all differences. A function that hides what it reads may read a listed table.
pub(crate) fn read_gaps(
    reads: &[ReadTable],
    watched: &[WatchedTable],
    has_hidden_function: bool,
) -> Vec<ReadGap> {
    let mut gaps: Vec<_> = reads
        .iter()
        .filter_map(|read| table_gap(read, watched))
        .collect();
    if !has_hidden_function {
        let is_unread = |of: &&WatchedTable| !reads.iter().any(|read| read.is_watched_by(of));
        gaps.extend(
            watched
                .iter()
                .filter(is_unread)
                .map(|table| ReadGap::UnreadTable {
                    table: table.table.clone(),
                }),
        );
    }
    gaps
}

fn table_gap(read: &ReadTable, watched: &[WatchedTable]) -> Option<ReadGap> {
    let table = read.name();
    let entries: Vec<_> = watched.iter().filter(|w| read.is_watched_by(w)).collect();
    if entries.is_empty() {
        let columns = match &read.columns {
            None => "*".to_owned(),
            Some(names) => names.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        return Some(ReadGap::UnlistedTable { table, columns });
    }
    // An entry without columns watches all of them.
    if entries.iter().any(|entry| entry.change_columns.is_empty()) {
        return None;
    }
    let Some(columns) = &read.columns else {
        return Some(ReadGap::WholeRow { table });
    };
    let keys = entries.iter().flat_map(|entry| entry.key_columns());
    let listed: BTreeSet<_> = entries
        .iter()
        .flat_map(|entry| entry.change_columns.iter())
        .chain(keys.map(|key| &key.name))
        .collect();
    let missing: Vec<_> = columns
        .iter()
        .filter(|name| !listed.contains(name))
        .cloned()
        .collect();
    let complete: BTreeSet<_> = listed.into_iter().chain(columns).collect();
    let quoted: Vec<_> = complete.iter().map(|name| format!("{name:?}")).collect();
    (!missing.is_empty()).then(|| ReadGap::UnlistedColumns {
        table,
        missing: missing.join(", "),
        complete: quoted.join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceName;
    use crate::key_kind::KeyKind;
    use crate::triggers::key_part::KeyColumn;
    use crate::triggers::table_route::{Gate, TableRoute};
    use crate::triggers::trigger_event::TriggerKind;

    fn watched(table: &str, columns: &[&str]) -> WatchedTable {
        WatchedTable {
            instance: InstanceName::default(),
            stream: "s".to_owned(),
            schema: "public".to_owned(),
            table: table.to_owned(),
            route: TableRoute::Columns(vec![KeyColumn {
                name: "k".to_owned(),
                kind: KeyKind::Uuid,
            }]),
            gate: Gate::InWhen,
            change_columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            column_numbers: std::collections::BTreeMap::new(),
            column_types: Vec::new(),
            relations: vec![("public".to_owned(), table.to_owned())],
            inheritance: crate::triggers::watched_table::Inheritance::default(),
            part: None,
            trigger_kind: TriggerKind::Rows,
        }
    }

    fn read(table: &str, columns: Option<&[&str]>) -> ReadTable {
        ReadTable {
            schema: "public".to_owned(),
            table: table.to_owned(),
            columns: columns.map(|names| names.iter().map(|c| (*c).to_owned()).collect()),
        }
    }

    fn gaps(reads: &[ReadTable], listed: &[WatchedTable], hidden: bool) -> Vec<String> {
        let gaps = read_gaps(reads, listed, hidden);
        gaps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn complete_lists_have_no_gap() {
        let all = [read("t", Some(&["k", "a"]))];
        assert!(gaps(&all, &[watched("t", &["a", "b"])], false).is_empty());
        assert!(gaps(&all, &[watched("t", &[])], false).is_empty());
        assert!(gaps(&[read("t", None)], &[watched("t", &[])], false).is_empty());
        assert!(gaps(&[read("t", Some(&[]))], &[watched("t", &["a"])], false).is_empty());
        // Two roles of one table may share the columns.
        let two = [watched("t", &["a"]), watched("t", &["b"])];
        assert!(gaps(&[read("t", Some(&["a", "b"]))], &two, false).is_empty());
    }

    #[test]
    fn each_gap_names_what_is_missing() {
        let listed = [watched("t", &["a"])];
        assert!(
            gaps(&[read("t", Some(&["a", "dia"]))], &listed, false)[0].contains("reads dia of t")
        );
        assert!(gaps(&[read("t", None)], &listed, false)[0].contains("whole row of t"));
        let other = [read("t", Some(&["a"])), read("base", Some(&["x"]))];
        assert!(gaps(&other, &listed, false)[0].contains("reads base (x)"));
        assert!(gaps(&[], &listed, false)[0].contains("lists t, which the query does not read"));
        assert!(gaps(&[], &listed, true).is_empty());
        let gap = &read_gaps(&[read("de \"t\"", Some(&["z"]))], &listed, false)[0];
        let add = r#"add [[streams.s.tables]] with table = "de \"t\"","#;
        assert!(gap.remedy("s").starts_with(add), "{}", gap.remedy("s"));
        let gap = &read_gaps(&[read("t", Some(&["z"]))], &listed, false)[0];
        assert!(gap.remedy("s").contains(r#"columns = ["a", "k", "z"]"#));
    }
}
