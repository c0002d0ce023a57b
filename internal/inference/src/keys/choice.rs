//! The ORs of a block that hold for a place: each combination of rows with a row of that place fulfils
//! one of their arms.

use crate::keys::fact::{INNER_JOIN, LEFT_JOIN, RIGHT_JOIN, conjuncts, is_operation};
use crate::keys::prover::Prover;
use crate::keys::source::Place;
use crate::node::{Node, Value};

/// The ORs in WHERE and ON of a block.
#[derive(Default)]
pub(crate) struct Choices<'a> {
    /// Those that hold for the place.
    pub(crate) of_place: Vec<&'a Node>,
    /// The number of all.
    pub(crate) count: usize,
}

impl<'a> Choices<'a> {
    fn add(&mut self, conditions: &'a Value, holds: bool) {
        let is_or = |node: &&Node| node.is("BOOLEXPR") && is_operation(node, "or");
        let ors: Vec<_> = conjuncts(conditions).into_iter().filter(is_or).collect();
        self.count += ors.len();
        if holds {
            self.of_place.extend(ors);
        }
    }
}

impl<'a> Prover<'a> {
    /// Returns the ORs of the block of a place.
    pub(crate) fn choices(&mut self, start: Place) -> Option<Choices<'a>> {
        let mut found = Choices::default();
        let joins = self.blocks.query(start.block).field("jointree").as_node()?;
        found.add(joins.field("quals"), true);
        for item in joins.field("fromlist").items() {
            self.add_choices(item, start.entry, &mut found)?;
        }
        Some(found)
    }

    /// Adds the ORs in the ON of joins. Returns whether the place is in this item of FROM. The ON of an
    /// outer join holds for the side whose rows may be missing.
    fn add_choices(
        &mut self,
        item: &'a Value,
        entry: usize,
        found: &mut Choices<'a>,
    ) -> Option<bool> {
        self.spend()?;
        let node = item.as_node()?;
        if !node.is("JOINEXPR") {
            return Some(node.number("rtindex") == Ok(entry));
        }
        let is_left = self.add_choices(node.field("larg"), entry, found)?;
        let is_right = self.add_choices(node.field("rarg"), entry, found)?;
        let holds = match node.number("jointype").unwrap_or(u32::MAX) {
            INNER_JOIN => is_left || is_right,
            LEFT_JOIN => is_right,
            RIGHT_JOIN => is_left,
            _ => false,
        };
        found.add(node.field("quals"), holds);
        Some(is_left || is_right)
    }
}
