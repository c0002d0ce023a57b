//! Follows a variable through joins, sub-selects, views and CTEs to the column that it is.

use crate::block::{BlockId, EntryContents};
use crate::keys::prover::Prover;
use crate::keys::source::{Passage, Place, Source, SourceColumn, strip};
use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

impl<'a> Prover<'a> {
    /// Returns the output of a block with this number.
    pub(crate) fn output(&self, block: BlockId, number: i32) -> Option<&'a Node> {
        let mut targets = self.blocks.query(block).nodes("targetList");
        targets.find(|target| target.number::<i32>("resno") == Ok(number))
    }

    /// Returns whether a block is UNION, INTERSECT or EXCEPT.
    pub(crate) fn is_set_operation(&self, block: BlockId) -> bool {
        *self.blocks.query(block).field("setOperations") != Value::Null
    }

    /// Returns the relation at a place, or `None` if something else is there.
    pub(crate) fn relation_at(&self, place: Place) -> Option<u32> {
        let entry = self.blocks.entry(place.block, place.entry)?;
        let kind: u32 = entry.number("rtekind").ok()?;
        (kind == entry_kind::RELATION)
            .then(|| entry.number("relid").ok())
            .flatten()
    }

    /// Returns the column that an expression is. Returns `None` if it is something else than a column,
    /// or comes from a recursive CTE, or if the tree is not as expected.
    pub(crate) fn source(
        &mut self,
        mut block: BlockId,
        mut value: &'a Value,
        passage: &mut Passage<'a>,
    ) -> Option<Source> {
        loop {
            self.spend()?;
            let variable = strip(value)?;
            if !variable.is("VAR") {
                return None;
            }
            passage.variables.push(variable);
            block = self
                .blocks
                .up(block, variable.number("varlevelsup").ok()?)?;
            let position = variable.number("varno").ok()?;
            let column: i32 = variable.number("varattno").ok()?;
            if column <= 0 {
                return None;
            }
            let entry = self.blocks.entry(block, position)?;
            let member = |field: &str| {
                let index = usize::try_from(column).ok()?.checked_sub(1)?;
                entry.field(field).items().get(index)
            };
            let kind: u32 = entry.number("rtekind").ok()?;
            match kind {
                entry_kind::JOIN => value = member("joinaliasvars")?,
                entry_kind::GROUP => value = member("groupexprs")?,
                _ => match self.blocks.of_entry(block, position)? {
                    EntryContents::Block(inner) => {
                        if self.blocks.is_recursive(inner) {
                            return None;
                        }
                        let target = self.output(inner, column)?;
                        passage.outputs.push((inner, target));
                        if self.is_set_operation(inner) {
                            return Some(Source::SetOperation(inner, column));
                        }
                        (block, value) = (inner, target.field("expr"));
                    }
                    EntryContents::Other => {
                        let is_column = matches!(kind, entry_kind::RELATION | entry_kind::FUNCTION);
                        let place = Place {
                            block,
                            entry: position,
                        };
                        return is_column.then_some(Source::Column(SourceColumn { place, column }));
                    }
                },
            }
        }
    }

    /// Returns the column that an expression is, if its whole way compares as this operator does.
    pub(crate) fn compared_column(
        &mut self,
        block: BlockId,
        value: &'a Value,
        (operator, collation): (u32, u32),
    ) -> Option<SourceColumn> {
        let mut passage = Passage::default();
        let source = self.source(block, value, &mut passage)?;
        let catalog = self.catalog;
        let mut variables = passage.variables.iter();
        match source {
            Source::Column(column)
                if variables.all(|v| catalog.is_own_equality(operator, collation, v)) =>
            {
                Some(column)
            }
            _ => None,
        }
    }
}
