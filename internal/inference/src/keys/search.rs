//! Searches the shortest chain of tables from a changed row to all key parts.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::keys::chain::{Chain, Failure};
use crate::keys::choice::Choices;
use crate::keys::class::{Class, Classes};
use crate::keys::fact::Fact;
use crate::keys::not_proven::NotProvenReason;
use crate::keys::prover::Prover;
use crate::keys::source::Place;

/// The largest number of joins in a lookup.
const MAX_JOINS: usize = 6;

/// The largest number of chains that are tried for one place.
const MAX_CHAINS: usize = 2_000;

/// One arm of an OR.
#[derive(Debug, Clone, Copy)]
struct Arm<'f, 'a> {
    /// What holds in it beside the facts of its block.
    facts: &'f [Fact<'a>],
    /// True if its OR is the only one of the block, so that no other place of the block is covered by
    /// the arms of another.
    is_of_only_or: bool,
}

impl Arm<'_, '_> {
    /// What holds without any OR.
    const NONE: Self = Self {
        facts: &[],
        is_of_only_or: true,
    };
}

impl<'a> Prover<'a> {
    /// Returns the chains that together cover a place: one, or one for each arm of an OR that holds for
    /// it.
    ///
    /// # Errors
    /// Returns an error if there is none.
    pub(crate) fn chains(&mut self, start: Place) -> Result<Vec<Chain>, Failure> {
        let failure = match self.chain(start, Arm::NONE) {
            Ok(chain) => return Ok(vec![chain]),
            Err(failure) => failure,
        };
        self.chains_of_arms(start).ok_or(failure)
    }

    fn chains_of_arms(&mut self, start: Place) -> Option<Vec<Chain>> {
        self.enforced(start.block).get(&start.entry)?;
        let Choices { of_place, count } = self.choices(start)?;
        for condition in of_place {
            let arms = condition.field("args").items().iter();
            let chains: Option<Vec<_>> = arms
                .map(|arm| {
                    let facts = self.facts(start.block, arm);
                    // Without facts the arm adds nothing to what failed already.
                    if facts.is_empty() {
                        return None;
                    }
                    let arm = Arm {
                        facts: &facts,
                        is_of_only_or: count == 1,
                    };
                    self.chain(start, arm).ok()
                })
                .collect();
            if chains.is_some() {
                return chains;
            }
        }
        None
    }

    fn chain(&mut self, start: Place, arm: Arm<'_, 'a>) -> Result<Chain, Failure> {
        let mut failure = Failure::default();
        let mut queue = vec![Chain {
            places: vec![start],
            joins: Vec::new(),
            parts: BTreeMap::new(),
        }];
        let mut tried = 0;
        for joins in 0..=MAX_JOINS {
            let mut following = Vec::new();
            for mut chain in std::mem::take(&mut queue) {
                tried += 1;
                if tried > MAX_CHAINS || self.spend().is_none() {
                    failure.reason = Some(NotProvenReason::TooComplex);
                    return Err(failure);
                }
                let classes = self.classes_in(&chain, arm);
                if let Some(how) = classes.stopped {
                    failure.note(NotProvenReason::Boundary(how));
                }
                let known = self.known_parts(&chain, &classes, arm, &mut failure);
                let is_all = known.len() == self.key.len();
                let last = chain.places.len() - 1;
                for (part, column) in known {
                    chain.parts.entry(part).or_insert((last, column));
                }
                if chain.parts.len() == self.key.len() {
                    // Where the last table alone does not tell the whole key, one statement may change
                    // rows of two tables of the chain, and neither finds the other any more. The same
                    // holds for places that are covered by the arms of different ORs.
                    if (is_all && arm.is_of_only_or) || !self.may_change_together(&chain) {
                        return Ok(chain);
                    }
                    failure.reason = Some(NotProvenReason::ChangedTogether);
                    failure.chain.get_or_insert(chain);
                } else if joins < MAX_JOINS {
                    self.extend(&chain, &classes, &mut following);
                }
            }
            queue = following;
        }
        Err(failure)
    }

    /// Returns the classes of the last place of a chain. The arm's facts hold while the chain stays in
    /// its first block: outside of it, another combination of the block's rows may follow.
    fn classes_in(&mut self, chain: &Chain, arm: Arm<'_, 'a>) -> Rc<Classes> {
        let [first, .., last] = chain.places[..] else {
            let only = chain.places[0];
            return self.classes_with(only, arm);
        };
        let stays = chain.places.iter().all(|p| p.block == first.block);
        self.classes_with(last, if stays { arm } else { Arm::NONE })
    }

    fn classes_with(&mut self, place: Place, arm: Arm<'_, 'a>) -> Rc<Classes> {
        if arm.facts.is_empty() {
            self.classes(place)
        } else {
            Rc::new(self.find_classes(place, arm.facts))
        }
    }

    /// Returns the key parts that the last table of a chain tells, each with its column: one that
    /// equals the key part, or equals a column of another table that does.
    fn known_parts(
        &mut self,
        chain: &Chain,
        classes: &Classes,
        arm: Arm<'_, 'a>,
        failure: &mut Failure,
    ) -> BTreeMap<usize, i32> {
        let mut known = BTreeMap::new();
        let Some(last) = chain.places.last() else {
            return known;
        };
        let is_in_block = chain.places.iter().all(|p| p.block == last.block);
        for class in classes.all.iter().filter(|class| !class.own.is_empty()) {
            let mut parts = class.parts.clone();
            for other in &class.others {
                if self.relation_at(other.place).is_none() {
                    continue;
                }
                let holds = is_in_block && other.place.block == last.block;
                let theirs = self.classes_with(other.place, if holds { arm } else { Arm::NONE });
                parts.extend(
                    theirs
                        .of_own(other.column)
                        .iter()
                        .flat_map(|class| &class.parts),
                );
            }
            for part in parts {
                match self.key_column(*last, class, part) {
                    Some(column) => drop(known.entry(part).or_insert(column)),
                    None => failure.note(NotProvenReason::KeyType),
                }
            }
        }
        known
    }

    /// Returns the column of a class that spells a key part as the parameter does.
    fn key_column(&self, place: Place, class: &Class, part: usize) -> Option<i32> {
        let relation = self.relation_at(place)?;
        let key_type = *self.key_types.get(part - 1)?;
        let spelled = class.own.iter().filter_map(|column| {
            let spelling = self.catalog.key_spelling(relation, *column, key_type)?;
            Some((spelling, *column))
        });
        spelled.min().map(|(_, column)| column)
    }

    /// Adds the chains that are longer by one table.
    fn extend(&self, chain: &Chain, classes: &Classes, following: &mut Vec<Chain>) {
        let Some(last) = chain.places.last() else {
            return;
        };
        let mut steps: BTreeMap<Place, BTreeSet<(i32, i32)>> = BTreeMap::new();
        for class in &classes.all {
            for other in &class.others {
                let join = self.join_column(*last, class, (other.place, other.column));
                if let Some(own) = join
                    && !chain.places.contains(&other.place)
                {
                    let columns = steps.entry(other.place).or_default();
                    columns.insert((own, other.column));
                }
            }
        }
        for (place, columns) in steps {
            let mut longer = chain.clone();
            longer.places.push(place);
            longer.joins.push(columns);
            following.push(longer);
        }
    }

    /// Returns the column of a class that a lookup can compare with a column of another table.
    fn join_column(&self, place: Place, class: &Class, other: (Place, i32)) -> Option<i32> {
        let own = self.relation_at(place)?;
        let next = self.relation_at(other.0)?;
        if !self.catalog.has_triggers(next) {
            return None;
        }
        class.own.iter().copied().find(|column| {
            let equality = self.catalog.join_equality((own, *column), (next, other.1));
            equality.is_some()
        })
    }
}
