//! All places where tables and key arrays are read.

use crate::block::{BlockId, EntryContents};
use crate::keys::fact::{conjuncts, is_operation};
use crate::keys::prover::Prover;
use crate::keys::source::Place;
use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

/// The largest number of nested blocks.
const MAX_NESTING: usize = 100;

/// The largest number of places where tables are read.
const MAX_PLACES: usize = 2_000;

/// A place where a table is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TablePlace {
    pub(crate) place: Place,
    pub(crate) relation: u32,
    pub(crate) is_recursive: bool,
    pub(crate) is_sampled: bool,
}

/// All places of a query.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) tables: Vec<TablePlace>,
    pub(crate) functions: Vec<Place>,
    pub(crate) blocks: Vec<BlockId>,
    /// The addresses of the range-table entries of the tables.
    pub(crate) entries: std::collections::HashSet<usize>,
}

impl<'a> Prover<'a> {
    /// Returns every place of the query. Returns `None` if there are too many, or if the tree is not as
    /// expected.
    pub(crate) fn places(&mut self) -> Option<Places> {
        let mut places = Places::default();
        self.visit_block(0, false, 0, &mut places)?;
        Some(places)
    }

    fn visit_block(
        &mut self,
        block: BlockId,
        is_recursive: bool,
        depth: usize,
        places: &mut Places,
    ) -> Option<()> {
        if depth > MAX_NESTING || places.tables.len() > MAX_PLACES {
            return None;
        }
        self.spend()?;
        places.blocks.push(block);
        // This also notes what the tests of IN mean for the rows of their sub-selects.
        self.enforced(block);
        self.assume_arms(block);
        let query = self.blocks.query(block);
        for position in 1..=query.field("rtable").items().len() {
            let entry = self.blocks.entry(block, position)?;
            let kind: u32 = entry.number("rtekind").ok()?;
            let place = Place {
                block,
                entry: position,
            };
            if kind == entry_kind::RELATION && !entry.flag("inFromCl").ok()? {
                continue;
            }
            if let EntryContents::Block(inner) = self.blocks.of_entry(block, position)? {
                let is_recursive = is_recursive || self.blocks.is_recursive(inner);
                self.visit_block(inner, is_recursive, depth + 1, places)?;
            } else if kind == entry_kind::RELATION {
                places.entries.insert(std::ptr::from_ref(entry).addr());
                places.tables.push(TablePlace {
                    place,
                    relation: entry.number("relid").ok()?,
                    is_recursive,
                    is_sampled: *entry.field("tablesample") != Value::Null,
                });
            } else if kind == entry_kind::FUNCTION {
                places.functions.push(place);
            }
        }
        let mut links = Vec::new();
        for (name, value) in &query.fields {
            if **name != *"cteList" {
                collect_links(value, &mut links);
            }
        }
        for link in links {
            let inner = self.blocks.of_link(block, link)?;
            self.visit_block(inner, is_recursive, depth + 1, places)?;
        }
        Some(())
    }

    /// Notes what IN means inside of the arms of an OR.
    fn assume_arms(&mut self, block: BlockId) {
        let Some(joins) = self.blocks.query(block).field("jointree").as_node() else {
            return;
        };
        for condition in conjuncts(joins.field("quals")) {
            if condition.is("BOOLEXPR") && is_operation(condition, "or") {
                for arm in condition.field("args").items() {
                    self.facts(block, arm);
                }
            }
        }
    }
}

/// Collects the sub-selects of expressions, but not those inside of other queries.
fn collect_links<'a>(value: &'a Value, links: &mut Vec<&'a Node>) {
    match value {
        Value::Null | Value::Atom(_) => {}
        Value::List(items) => items.iter().for_each(|item| collect_links(item, links)),
        Value::Node(node) if node.is("QUERY") => {}
        Value::Node(node) if node.is("SUBLINK") => {
            links.push(node);
            collect_links(node.field("testexpr"), links);
        }
        Value::Node(node) => {
            for (_, field) in &node.fields {
                collect_links(field, links);
            }
        }
    }
}
