//! Finds the equivalence classes of a place from the facts of all blocks around it.

use std::rc::Rc;

use crate::block::BlockId;
use crate::keys::boundary::boundary;
use crate::keys::class::{Classes, Member, Partition};
use crate::keys::fact::{Fact, Term};
use crate::keys::problem::KeyMixing;
use crate::keys::prover::Prover;
use crate::keys::source::{Passage, Place, Source, SourceColumn};

impl<'a> Prover<'a> {
    /// Returns the classes of a place.
    pub(crate) fn classes(&mut self, place: Place) -> Rc<Classes> {
        if let Some(known) = self.classes.get(&place) {
            return Rc::clone(known);
        }
        let found = Rc::new(self.find_classes(place, &[]));
        self.classes.insert(place, Rc::clone(&found));
        found
    }

    /// Returns the classes of a place if these facts of its block hold too.
    pub(crate) fn find_classes(&mut self, place: Place, assumed: &[Fact<'a>]) -> Classes {
        let (chain, mut facts) = self.facts_around(place);
        facts.extend(assumed);
        let mut partition = Partition::default();
        let mut stopped = None;
        let relation = self.relation_at(place);
        let is_readable =
            |column| relation.is_none_or(|relation| self.catalog.is_readable(relation, column));
        for (part, aliases) in (1..).zip(&self.key) {
            let own = aliases.iter().filter(|alias| alias.place == place);
            for alias in own.filter(|alias| is_readable(alias.column)) {
                partition.unite(&[Member::Own(alias.column), Member::Part(part)]);
            }
        }
        for fact in facts {
            let [left, right] = fact.terms;
            let mut members = Vec::new();
            let mut is_known = true;
            for term in [left, right] {
                match self.members(place, &chain, term, fact.operator) {
                    Ok(found) => members.extend(found),
                    Err(boundary) => {
                        stopped = stopped.or(boundary);
                        is_known = false;
                    }
                }
            }
            if is_known {
                partition.unite(&members);
            }
        }
        Classes {
            all: partition.into_classes(),
            stopped,
        }
    }

    /// Returns the blocks that enclose a place, the innermost first, and their facts for it.
    fn facts_around(&mut self, place: Place) -> (Vec<BlockId>, Vec<Fact<'a>>) {
        let (mut chain, mut facts) = (Vec::new(), Vec::new());
        let mut at = place;
        loop {
            if let Some(own) = self.enforced(at.block).get(&at.entry) {
                facts.extend(own.iter().copied());
            }
            chain.push(at.block);
            match self.blocks.outer(at.block) {
                Some((block, entry)) => at = Place { block, entry },
                None => {
                    facts.extend(self.tests.get(&at.block).into_iter().flatten());
                    return (chain, facts);
                }
            }
        }
    }

    /// Returns what one side of a fact is, as seen from a place inside of these blocks.
    ///
    /// # Errors
    /// Returns an error if it is nothing that is known, with the boundary that it does not pass.
    fn members(
        &mut self,
        place: Place,
        chain: &[BlockId],
        term: Term<'a>,
        (operator, collation): (u32, u32),
    ) -> Result<Vec<Member>, Option<KeyMixing>> {
        let mut passage = Passage::default();
        let source = self.source(term.block, term.value, &mut passage);
        let column = match source.ok_or(None)? {
            Source::Column(column) => column,
            Source::SetOperation(block, output) => self
                .in_arm(place, chain, (block, output), &mut passage)
                .ok_or(None)?,
        };
        // A fact outside of a block counts inside only if a filter may move down.
        for (block, output) in &passage.outputs {
            if chain.contains(block)
                && let Some(boundary) = boundary(self.blocks.query(*block), output)
            {
                return Err(Some(boundary));
            }
        }
        let catalog = self.catalog;
        let is_own = |variable| catalog.is_own_equality(operator, collation, variable);
        if !passage.variables.iter().all(|variable| is_own(variable)) {
            return Err(None);
        }
        if let Some(relation) = self.relation_at(column.place)
            && !catalog.is_readable(relation, column.column)
        {
            return Err(None);
        }
        let mut members = vec![if column.place == place {
            Member::Own(column.column)
        } else {
            Member::Other(column)
        }];
        let parts = (1..).zip(&self.key);
        members.extend(
            parts
                .filter(|(_, aliases)| aliases.contains(&column))
                .map(|(part, _)| Member::Part(part)),
        );
        Ok(members)
    }

    /// Follows an output of a set operation into the arm that contains a place. Returns `None` if it is
    /// no column of that place.
    fn in_arm(
        &mut self,
        place: Place,
        chain: &[BlockId],
        (operation, output): (BlockId, i32),
        passage: &mut Passage<'a>,
    ) -> Option<SourceColumn> {
        let is_arm = |block: &BlockId| {
            let outer = self.blocks.outer(*block);
            outer.is_some_and(|(outer, _)| outer == operation)
        };
        let arm = *chain.iter().find(|block| is_arm(block))?;
        let target = self.output(arm, output)?;
        passage.outputs.push((arm, target));
        // An arm that is a set operation itself shows only its first arm.
        if self.is_set_operation(arm) {
            return None;
        }
        match self.source(arm, target.field("expr"), passage)? {
            Source::Column(column) if column.place == place => Some(column),
            _ => None,
        }
    }
}
