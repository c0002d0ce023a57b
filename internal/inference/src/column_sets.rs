//! Sets of columns by relation, as numbers.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::RelationFacts;

/// The columns that are read, by relation: 0 is the whole row, and negative numbers are system
/// columns.
pub(crate) type ColumnSets = BTreeMap<u32, BTreeSet<i32>>;

/// Adds all columns of `from`.
pub(crate) fn merge(into: &mut ColumnSets, from: &ColumnSets) {
    for (oid, columns) in from {
        into.entry(*oid).or_default().extend(columns);
    }
}

/// Returns the name of a column of a relation.
pub(crate) fn column_name(facts: &RelationFacts, number: i32) -> String {
    let system = match number {
        -1 => "ctid",
        -2 => "xmin",
        -3 => "cmin",
        -4 => "xmax",
        -5 => "cmax",
        -6 => "tableoid",
        _ => {
            let known = facts.columns.get(&number);
            return known.cloned().unwrap_or_else(|| format!("column {number}"));
        }
    };
    system.to_owned()
}
