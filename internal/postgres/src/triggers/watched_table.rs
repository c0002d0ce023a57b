//! A table of a stream, as found in the database, and the names of its triggers. Pure.

use std::collections::BTreeMap;

use crate::instance::InstanceName;
use crate::quote::quote_qualified;
use crate::triggers::key_part::KeyColumn;
use crate::triggers::script::{sha256_hex, truncate_name};
use crate::triggers::table_route::{Gate, LookupFacts, TableLookup, TableRoute};
use crate::triggers::trigger_event::{TriggerEvent, TriggerKind};

/// A table of a stream, as found in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchedTable {
    /// The installation that the triggers belong to.
    pub instance: InstanceName,
    pub stream: String,
    pub schema: String,
    pub table: String,
    pub route: TableRoute,
    pub gate: Gate,
    /// The columns whose change counts; empty means every column.
    pub change_columns: Vec<String>,
    /// The types of the key and of the listed columns. Sessions keep a function that
    /// was compiled for other types until it is replaced.
    pub column_types: Vec<String>,
    /// The key and the listed columns with their numbers (`pg_attribute.attnum`), which stay when a
    /// column is renamed.
    pub column_numbers: BTreeMap<String, i16>,
    /// The table, then its partitions, as schema and name.
    pub relations: Vec<(String, String)>,
    pub inheritance: Inheritance,
    /// The hash of the entry whose rows count, if its table is a part of this one.
    pub part: Option<String>,
    pub trigger_kind: TriggerKind,
}

/// What a watched table has to do with others, as a partition or by INHERITS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inheritance {
    /// The tables that it is a part of.
    pub(crate) ancestors: Vec<Ancestor>,
    /// The tables with a foreign table below them, among the ancestors, the table and its partitions,
    /// as schema and name. There may be others.
    pub(crate) above_foreign: Vec<(String, String)>,
    /// The columns that decide about the partition of a row, with their types. `None` is an expression.
    pub(crate) partition_keys: Vec<Option<(String, String)>>,
}

/// A table that a watched one is a part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ancestor {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// The watched columns that it has, if it lacks some that the triggers of its part read.
    pub(crate) shared: Option<Vec<String>>,
}

impl WatchedTable {
    /// Returns whether the conditions of some triggers ask whether anything of the stream is watched:
    /// those of the table, or those of a table that it is a part of.
    pub(super) fn needs_stream_gate(&self) -> bool {
        self.has_stream_gate() || self.ancestor_parts().iter().any(Self::has_stream_gate)
    }

    /// Returns whether the conditions of the table's own triggers ask whether anything of the stream
    /// is watched.
    pub(super) fn has_stream_gate(&self) -> bool {
        self.gate == Gate::InWhen && !matches!(self.route, TableRoute::Columns(_))
    }

    pub(crate) fn qualified_name(&self) -> String {
        quote_qualified(&self.schema, &self.table)
    }

    /// Returns the columns that hold the key parts, if columns do.
    pub(crate) fn key_columns(&self) -> &[KeyColumn] {
        match &self.route {
            TableRoute::Columns(columns) => columns,
            TableRoute::Lookup(_) | TableRoute::EveryKey => &[],
        }
    }

    /// Returns the query that finds the keys, if there is one.
    pub(crate) fn lookup(&self) -> Option<&TableLookup> {
        match &self.route {
            TableRoute::Lookup(lookup) => Some(lookup),
            TableRoute::Columns(_) | TableRoute::EveryKey => None,
        }
    }

    /// Returns what is known of the lookup, if the keys are looked up.
    pub(crate) fn lookup_facts(&self) -> Option<&LookupFacts> {
        self.lookup().and_then(|lookup| lookup.facts.as_ref())
    }

    /// Returns the table with these facts of its lookup.
    pub(super) fn with_facts(&self, facts: Option<LookupFacts>) -> Self {
        let mut table = self.clone();
        if let TableRoute::Lookup(lookup) = &mut table.route {
            lookup.facts = facts;
        }
        table
    }

    /// Returns the function's name: readable, and unique through a hash of the parts that identify
    /// it.
    pub(super) fn function_name(&self) -> String {
        truncate_name(
            &format!("{}_{}", self.stream, self.table),
            &format!("_{}", self.short_hash()),
        )
    }

    /// Returns the name of the function that looks keys up.
    pub(super) fn lookup_name(&self) -> String {
        truncate_name(
            &format!("{}_{}", self.stream, self.table),
            &format!("_via_{}", self.short_hash()),
        )
    }

    pub(super) fn trigger_name(&self, event: TriggerEvent) -> String {
        truncate_name(
            &format!("{}_{}", self.instance, self.stream),
            &format!("_{}_{}", self.short_hash(), event.suffix),
        )
    }

    pub(super) fn short_hash(&self) -> String {
        let key = match &self.route {
            TableRoute::Columns(columns) => {
                let names: Vec<_> = columns.iter().map(|key| key.name.as_str()).collect();
                names.join("\0")
            }
            TableRoute::Lookup(lookup) => format!("\0via\0{}", lookup.sql),
            TableRoute::EveryKey => String::new(),
        };
        let parts = [&self.stream, &self.schema, &self.table, &key].map(String::as_str);
        let mut text = parts.join("\0");
        if let Some(part) = &self.part {
            text.push_str(&format!("\0part\0{part}"));
        }
        sha256_hex(&text)[..8].to_owned()
    }
}
