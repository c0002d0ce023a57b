//! Which facts hold for each relation of a block, in view of its outer joins.

use std::collections::HashSet;
use std::rc::Rc;

use crate::block::BlockId;
use crate::keys::fact::{BlockFacts, Fact, INNER_JOIN, LEFT_JOIN, RIGHT_JOIN};
use crate::keys::prover::Prover;
use crate::keys::source::strip;
use crate::node::{Node, Value};

/// A part of FROM whose relations are joined by inner joins.
#[derive(Default)]
struct Region<'a> {
    facts: Vec<Fact<'a>>,
    relations: Vec<usize>,
    /// The sides of outer joins whose rows may be missing.
    optional: Vec<Optional<'a>>,
}

/// The side of an outer join whose rows may be missing.
struct Optional<'a> {
    side: &'a Value,
    /// The facts of its ON; `None` for a side of a FULL JOIN, for which nothing holds.
    on: Option<Vec<Fact<'a>>>,
}

impl<'a> Prover<'a> {
    /// Returns the facts that hold for each entry of a block wherever a row of it can matter.
    pub(crate) fn enforced(&mut self, block: BlockId) -> Rc<BlockFacts<'a>> {
        if let Some(known) = self.regions.get(&block) {
            return Rc::clone(known);
        }
        let mut found = BlockFacts::new();
        if let Some(joins) = self.blocks.query(block).field("jointree").as_node() {
            let facts = self.facts(block, joins.field("quals"));
            let items: Vec<_> = joins.field("fromlist").items().iter().collect();
            self.descend(block, &items, facts, &mut found);
        }
        let found = Rc::new(found);
        self.regions.insert(block, Rc::clone(&found));
        found
    }

    fn descend(
        &mut self,
        block: BlockId,
        items: &[&'a Value],
        given: Vec<Fact<'a>>,
        found: &mut BlockFacts<'a>,
    ) {
        let mut whole = Region::default();
        let mut known = given.clone();
        // The facts of one item can make the rows of another item's outer join necessary.
        for _ in 0..2 {
            whole = Region {
                facts: given.clone(),
                ..Region::default()
            };
            for item in items {
                let region = self.region(block, item, &known);
                whole.facts.extend(region.facts);
                whole.relations.extend(region.relations);
                whole.optional.extend(region.optional);
            }
            known.clone_from(&whole.facts);
        }
        let facts = Rc::new(whole.facts);
        for relation in whole.relations {
            found.insert(relation, Rc::clone(&facts));
        }
        for optional in whole.optional {
            let given = match optional.on {
                Some(on) => facts.iter().copied().chain(on).collect(),
                None => Vec::new(),
            };
            self.descend(block, &[optional.side], given, found);
        }
    }

    /// Returns the region that starts at an item of FROM.
    fn region(&mut self, block: BlockId, item: &'a Value, known: &[Fact<'a>]) -> Region<'a> {
        let Some(node) = item.as_node() else {
            return Region::default();
        };
        if self.spend().is_none() {
            return Region::default();
        }
        if !node.is("JOINEXPR") {
            return Region {
                relations: node.number("rtindex").into_iter().collect(),
                ..Region::default()
            };
        }
        let kind = node.number("jointype").unwrap_or(u32::MAX);
        let (mut kept, mut optional) = (node.field("larg"), node.field("rarg"));
        if kind == RIGHT_JOIN {
            std::mem::swap(&mut kept, &mut optional);
        }
        let on = self.facts(block, node.field("quals"));
        let is_outer = matches!(kind, LEFT_JOIN | RIGHT_JOIN);
        if kind == INNER_JOIN || (is_outer && is_necessary(block, optional, known)) {
            let known: Vec<_> = known.iter().chain(&on).copied().collect();
            let mut region = self.region(block, kept, &known);
            let second = self.region(block, optional, &known);
            region.facts.splice(0..0, on);
            region.facts.extend(second.facts);
            region.relations.extend(second.relations);
            region.optional.extend(second.optional);
            return region;
        }
        if is_outer {
            let mut region = self.region(block, kept, known);
            region.optional.push(Optional {
                side: optional,
                on: Some(on),
            });
            return region;
        }
        let unknown = |side| Optional { side, on: None };
        Region {
            optional: vec![unknown(kept), unknown(optional)],
            ..Region::default()
        }
    }
}

/// Returns whether a fact needs a row of a side: a column of it equals something, so it is not null.
fn is_necessary(block: BlockId, side: &Value, known: &[Fact<'_>]) -> bool {
    let mut members = HashSet::new();
    collect_members(side, &mut members);
    let terms = known.iter().flat_map(|fact| fact.terms);
    terms.filter(|term| term.block == block).any(|term| {
        strip(term.value).is_some_and(|variable: &Node| {
            variable.number::<u32>("varlevelsup") == Ok(0)
                && variable
                    .number::<usize>("varno")
                    .is_ok_and(|entry| members.contains(&entry))
        })
    })
}

fn collect_members(side: &Value, members: &mut HashSet<usize>) {
    let mut rest = vec![side];
    while let Some(node) = rest.pop().and_then(Value::as_node) {
        if node.is("JOINEXPR") {
            rest.extend([node.field("larg"), node.field("rarg")]);
        } else {
            members.extend(node.number::<usize>("rtindex"));
        }
    }
}
