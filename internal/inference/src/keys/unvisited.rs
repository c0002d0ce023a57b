//! Checks that no place of a table was overlooked.

use std::collections::{HashMap, HashSet};

use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

/// Returns the relations that stand in FROM somewhere in a query or its views, but not among the
/// entries that were visited. `visited` holds the addresses of entries.
pub(crate) fn unvisited_relations(
    query: &Node,
    views: &HashMap<u32, Value>,
    visited: &HashSet<usize>,
) -> HashSet<u32> {
    let (mut found, mut seen, mut rest) = (HashSet::new(), HashSet::new(), Vec::new());
    let mut check = |node: &Node, rest: &mut Vec<u32>| {
        if !node.is("QUERY") {
            return;
        }
        for entry in node.nodes("rtable") {
            let is_relation = entry.number::<u32>("rtekind") == Ok(entry_kind::RELATION);
            // The rules of 14 and 15 have entries OLD and NEW that are not in FROM.
            let is_in_from = entry.flag("inFromCl") != Ok(false);
            if let (true, true, Ok(relation)) = (is_relation, is_in_from, entry.number("relid")) {
                if views.contains_key(&relation) {
                    rest.push(relation);
                } else if !visited.contains(&std::ptr::from_ref(entry).addr()) {
                    found.insert(relation);
                }
            }
        }
    };
    check(query, &mut rest);
    for (_, value) in &query.fields {
        value.for_each_node(&mut |node| check(node, &mut rest));
    }
    while let Some(view) = rest.pop() {
        if seen.insert(view)
            && let Some(tree) = views.get(&view)
        {
            tree.for_each_node(&mut |node| check(node, &mut rest));
        }
    }
    found
}
