//! Writes a way over tables as a lookup.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::facts::RelationFacts;
use crate::keys::catalog::{Equals, KeyCatalog, KeySpelling};
use crate::keys::lookup::Lookup;
use crate::keys::sql_name::{quote_after_dot, quote_if_needed};

/// A way from the changed rows of a table over other tables to the key.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The tables, that of the changed row first.
    pub(crate) relations: Vec<u32>,
    /// The columns that join each table to the one before: first that of the one before.
    pub(crate) joins: Vec<BTreeSet<(i32, i32)>>,
    /// The column of each key part: the number of its table, and the column.
    pub(crate) parts: BTreeMap<usize, (usize, i32)>,
}

impl KeyCatalog<'_> {
    /// Returns a route as a lookup. Returns `None` if a column is not known or cannot be compared.
    pub(crate) fn lookup(&self, route: &Route, key_types: &[u32]) -> Option<Lookup> {
        let relations: Vec<&RelationFacts> = route
            .relations
            .iter()
            .map(|oid| self.relations.get(oid))
            .collect::<Option<_>>()?;
        let (mut outputs, mut names, mut is_plain) = (Vec::new(), Vec::new(), true);
        for (part, (at, column)) in &route.parts {
            let relation = relations.get(*at)?;
            let name = relation.columns.get(column)?;
            let key_type = *key_types.get(part - 1)?;
            let cast = match self.key_spelling(relation.oid, *column, key_type)? {
                KeySpelling::Same => String::new(),
                KeySpelling::Cast(to) => format!("::{to}"),
            };
            is_plain &= *at == 0 && cast.is_empty();
            outputs.push(format!("c{at}.{}{cast}", quote_after_dot(name)));
            names.push(name.clone());
        }
        if is_plain {
            return Some(Lookup::Columns(names));
        }
        let mut sql = format!("SELECT DISTINCT {} FROM changed c0", outputs.join(", "));
        let mut path = String::new();
        for (at, columns) in (1..).zip(&route.joins) {
            let tables = (*relations.get(at - 1)?, *relations.get(at)?);
            let (condition, passed) = self.join_condition(at, tables, columns)?;
            let (schema, table) = (&tables.1.schema, &tables.1.name);
            let (schema, quoted) = (quote_if_needed(schema), quote_after_dot(table));
            let _ = write!(sql, " JOIN {schema}.{quoted} c{at} ON {condition}");
            let _ = write!(path, "{passed} > {table}.");
        }
        path += &names.join(", ");
        Some(Lookup::Select { sql, path })
    }

    /// Returns the condition of the join of a table with the one before, and the names of the columns
    /// of the latter.
    fn join_condition(
        &self,
        at: usize,
        (before, next): (&RelationFacts, &RelationFacts),
        columns: &BTreeSet<(i32, i32)>,
    ) -> Option<(String, String)> {
        let (mut conditions, mut passed) = (Vec::new(), Vec::new());
        for (left, right) in columns {
            let equals = match self.join_equality((before.oid, *left), (next.oid, *right))? {
                Equals::BuiltIn => "=".to_owned(),
                Equals::InSchema(schema) => format!("OPERATOR({}.=)", quote_if_needed(schema)),
            };
            let (left, right) = (before.columns.get(left)?, next.columns.get(right)?);
            let (own, other) = (quote_after_dot(right), quote_after_dot(left));
            conditions.push(format!("c{at}.{own} {equals} c{}.{other}", at - 1));
            passed.push(left.as_str());
        }
        Some((conditions.join(" AND "), passed.join(", ")))
    }
}
