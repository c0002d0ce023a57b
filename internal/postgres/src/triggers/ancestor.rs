//! The tables that a table is a part of, as a partition or by INHERITS.
//!
//! A statement that names such a table changes rows of its parts too, and fires the statement triggers
//! of the named table alone. So they get the triggers of the part as well. Row triggers fire on the
//! part itself, whatever the statement names.

use std::collections::BTreeMap;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::quote::quote_qualified;
use crate::triggers::discover::{WHAT, query_rows};
use crate::triggers::table_route::TableRoute;
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::watched_table::{Ancestor, Inheritance, WatchedTable};

/// The columns that triggers look at.
pub(super) struct TriggerColumns {
    /// Those whose change counts; empty means every column.
    pub(super) names: Vec<String>,
    /// The types of these and of the key.
    pub(super) types: Vec<String>,
}

impl WatchedTable {
    /// Returns the relations whose triggers call the table's function, as schema and name.
    pub(super) fn trigger_relations(&self) -> Vec<(String, String)> {
        let complete = self.statement_ancestors();
        let complete = complete.filter(|ancestor| ancestor.shared.is_none());
        let complete = complete.map(Ancestor::name);
        let own = self.relations.iter().cloned();
        let own = own.filter(|relation| !self.is_left_out(relation));
        own.chain(complete).collect()
    }

    /// Returns a sentence about the tables that get no triggers because a foreign table is below them.
    pub(crate) fn left_out_note(&self) -> Option<String> {
        let ancestors = self.inheritance.ancestors.iter().map(Ancestor::name);
        let all = self.relations.iter().cloned().chain(ancestors);
        let left_out = all.filter(|relation| self.is_left_out(relation));
        let names: Vec<_> = left_out
            .map(|(schema, table)| quote_qualified(&schema, &table))
            .collect();
        (!names.is_empty()).then(|| {
            format!(
                "{} have a foreign table below them, whose writes fail under these triggers, and get none: \
                 the sweep alone finds what is written by these names",
                names.join(", ")
            )
        })
    }

    /// Returns whether a relation gets no triggers because a foreign table is below it: PostgreSQL
    /// cannot collect the rows of that for a statement trigger, and fails the write. Row triggers
    /// collect nothing.
    fn is_left_out(&self, relation: &(String, String)) -> bool {
        self.trigger_kind == TriggerKind::Statements
            && self.inheritance.above_foreign.contains(relation)
    }

    /// Returns the triggers for the ancestors that lack columns: what changes through them concerns
    /// any key. An UPDATE changes columns that they have, or it does not name them.
    pub(super) fn ancestor_parts(&self) -> Vec<Self> {
        let part = |ancestor: &Ancestor| {
            Some(Self {
                schema: ancestor.schema.clone(),
                table: ancestor.table.clone(),
                part: Some(self.short_hash()),
                route: TableRoute::EveryKey,
                change_columns: ancestor.shared.clone()?,
                column_numbers: BTreeMap::new(),
                relations: vec![(ancestor.schema.clone(), ancestor.table.clone())],
                inheritance: Inheritance::default(),
                ..self.clone()
            })
        };
        self.statement_ancestors().filter_map(part).collect()
    }

    /// Returns the columns whose change the triggers look for, with their types; empty means every
    /// column. An UPDATE of those that decide about the partition of a row takes rows out of the table,
    /// or into it. A row trigger is told that as DELETE or INSERT, one of a statement above is not.
    pub(super) fn trigger_columns(&self) -> TriggerColumns {
        let mut columns = TriggerColumns {
            names: self.change_columns.clone(),
            types: self.column_types.clone(),
        };
        if self.trigger_kind == TriggerKind::Rows || columns.names.is_empty() {
            return columns;
        }
        for key in &self.inheritance.partition_keys {
            let Some((name, data_type)) = key else {
                columns.names.clear();
                return columns;
            };
            if !columns.names.contains(name) {
                columns.names.push(name.clone());
                columns.types.push(data_type.clone());
            }
        }
        columns
    }

    fn statement_ancestors(&self) -> impl Iterator<Item = &Ancestor> {
        let ancestors = match self.trigger_kind {
            TriggerKind::Rows => &[][..],
            TriggerKind::Statements => &self.inheritance.ancestors,
        };
        let ancestors = ancestors.iter();
        ancestors.filter(|ancestor| !self.is_left_out(&ancestor.name()))
    }
}

impl Ancestor {
    fn name(&self) -> (String, String) {
        (self.schema.clone(), self.table.clone())
    }
}

impl Inheritance {
    /// Reads what a table has to do with others. `all` has its columns with their types.
    pub(super) async fn find(
        database: &Database,
        oid: u32,
        all: &[(String, String)],
        route: &TableRoute,
        change_columns: &[String],
    ) -> Result<Self, DatabaseError> {
        let sql = include_str!("find_ancestors.sql");
        let rows = query_rows(database, sql, &oid, Type::OID).await?;
        let names: Vec<_> = all.iter().map(|(name, _)| name).collect();
        let watched = match change_columns.is_empty() {
            true => names.clone(),
            false => change_columns.iter().collect(),
        };
        let needed = match route {
            TableRoute::Columns(key) => {
                let key = key.iter().map(|key| &key.name);
                key.chain(watched.iter().copied()).collect()
            }
            // A lookup may read any.
            TableRoute::Lookup(_) => names,
            TableRoute::EveryKey => watched.clone(),
        };
        let ancestor = |row: &Row| {
            let columns: Vec<String> = row.try_get(2)?;
            let is_complete = needed.iter().all(|name| columns.contains(name));
            let shared = watched.iter().filter(|name| columns.contains(name));
            Ok(Ancestor {
                schema: row.try_get(0)?,
                table: row.try_get(1)?,
                shared: (!is_complete).then(|| shared.map(|name| (*name).clone()).collect()),
            })
        };
        let ancestors: Result<_, _> = rows.iter().map(ancestor).collect();
        let sql = include_str!("find_foreign.sql");
        let above_foreign = query_rows(database, sql, &oid, Type::OID).await?;
        let name = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let above_foreign: Result<_, _> = above_foreign.iter().map(name).collect();
        Ok(Self {
            ancestors: ancestors.map_err(to_error)?,
            above_foreign: above_foreign.map_err(to_error)?,
            partition_keys: partition_keys(&rows, all)?,
        })
    }
}

/// Returns the columns that decide about the partition of a row, each once, with their types; `None`
/// is an expression.
fn partition_keys(
    ancestors: &[Row],
    all: &[(String, String)],
) -> Result<Vec<Option<(String, String)>>, DatabaseError> {
    let mut found = Vec::new();
    for row in ancestors {
        let keys: Vec<Option<String>> = row.try_get(3).map_err(to_error)?;
        for key in keys {
            let column = all.iter().find(|(name, _)| key.as_ref() == Some(name));
            let column = column.cloned();
            if !found.contains(&column) {
                found.push(column);
            }
        }
    }
    Ok(found)
}

#[expect(clippy::needless_pass_by_value, reason = "it is used with map_err")]
fn to_error(error: tokio_postgres::Error) -> DatabaseError {
    DatabaseError::from_driver(WHAT, &error)
}
