//! The catalog entries that the proof of keys needs beside those of the query's reads.

use std::collections::HashSet;

use crate::exploration::{Exploration, Step};
use crate::keys::need::KeyNeed;
use crate::node::Value;

/// The largest number of tables that are followed along foreign keys.
const MAX_ANCESTORS: usize = 500;

impl Exploration {
    /// Asks for what is still needed, once all reads are known.
    pub(crate) fn request_key_facts(&mut self) {
        if !self.steps.is_empty() || self.key_parts.is_none_or(|parts| parts == 0) {
            return;
        }
        let mut needs = HashSet::new();
        for tree in self.views.values().chain([&self.tree]) {
            collect_needs(tree, &mut needs);
        }
        for facts in self.types.values() {
            needs.extend([facts.base, facts.element].map(KeyNeed::Type));
        }
        for facts in self.relations.values() {
            let types = facts.column_types.values();
            needs.extend(types.copied().map(KeyNeed::Type));
            let parents = facts.foreign_keys.iter().map(|key| key.parent);
            let unknown = parents.filter(|parent| !self.relations.contains_key(parent));
            needs.extend(unknown.map(KeyNeed::Ancestor));
        }
        needs.remove(&KeyNeed::Type(0));
        for need in needs {
            let is_ancestor = matches!(need, KeyNeed::Ancestor(_));
            if is_ancestor && self.ancestors >= MAX_ANCESTORS {
                continue;
            }
            if self.requested.insert(need) {
                self.ancestors += usize::from(is_ancestor);
                self.steps.push(Step::Key(need));
            }
        }
    }
}

/// Collects the types and operators of a tree.
fn collect_needs(tree: &Value, needs: &mut HashSet<KeyNeed>) {
    tree.for_each_node(&mut |node| {
        let need: fn(u32) -> KeyNeed = match &*node.tag {
            "VAR" | "PARAM" => KeyNeed::Type,
            "OPEXPR" | "SCALARARRAYOPEXPR" => KeyNeed::Equality,
            _ => return,
        };
        for field in ["vartype", "paramtype", "opno"] {
            needs.extend(node.number(field).into_iter().map(need));
        }
    });
}
