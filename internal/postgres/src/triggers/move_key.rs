//! Finds the way from a moved row to its new keys, among the entries of its stream. Pure.

use crate::triggers::table_route::{LookupFacts, MoveKey, PathTable, TableRoute};
use crate::triggers::watched_table::WatchedTable;

/// Finds the way to the new key of a moved row, for each table that a lookup passes through, among the
/// entries of its stream.
pub(super) fn resolve_moves(found: &mut [WatchedTable]) {
    let entries: Vec<_> = found.to_vec();
    for table in found {
        let stream = table.stream.clone();
        let Some(facts) = lookup_facts_mut(table) else {
            continue;
        };
        for path in &mut facts.path {
            let own: Vec<_> = entries
                .iter()
                .filter(|entry| entry.stream == stream)
                .filter(|entry| (&entry.schema, &entry.table) == (&path.schema, &path.table))
                .collect();
            path.key = move_key(path, &own);
        }
    }
}

/// Returns the way to the new key of a moved row, given the entries of its table. Columns that the
/// lookup does not read cannot be the key that it returns.
fn move_key(path: &PathTable, entries: &[&WatchedTable]) -> MoveKey {
    if path.moves_elsewhere {
        return MoveKey::Unknown;
    }
    let reads = |name: &String| path.columns.is_empty() || path.columns.contains(name);
    let keys: Vec<_> = entries
        .iter()
        .map(|entry| entry.key_columns())
        .filter(|key| !key.is_empty() && key.iter().all(|column| reads(&column.name)))
        .map(<[_]>::to_vec)
        .collect();
    if !keys.is_empty() {
        return MoveKey::Columns(keys);
    }
    let mut lookups = entries
        .iter()
        .filter(|entry| entry.lookup_facts().is_some());
    match (lookups.next(), lookups.next()) {
        (Some(entry), None) => {
            entry
                .lookup_facts()
                .map_or(MoveKey::Unknown, |facts| MoveKey::Lookup {
                    function: entry.lookup_name(),
                    arguments: facts.arguments.clone(),
                    part_count: facts.parts.len(),
                })
        }
        _ => MoveKey::Unknown,
    }
}

fn lookup_facts_mut(table: &mut WatchedTable) -> Option<&mut LookupFacts> {
    match &mut table.route {
        TableRoute::Lookup(lookup) => lookup.facts.as_mut(),
        TableRoute::Columns(_) | TableRoute::EveryKey => None,
    }
}
