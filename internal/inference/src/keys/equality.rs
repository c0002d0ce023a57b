//! Finds the facts of a query: equalities of two columns that hold wherever a row can matter.

use crate::block::BlockId;
use crate::keys::boundary::{boundary, needs_input};
use crate::keys::fact::{Fact, INNER_JOIN, Term, conjuncts, operator_of};
use crate::keys::prover::Prover;
use crate::keys::source::strip;
use crate::node::{Node, Value};

/// The kinds of sub-selects in expressions, `SubLinkType` of PostgreSQL.
mod link_kind {
    pub(super) const EXISTS: u32 = 0;
    pub(super) const ANY: u32 = 2;
}

/// The kind of a parameter that stands for an output of a sub-select.
const SUBLINK_PARAMETER: u32 = 2;

/// The largest number of nested conditions.
const MAX_NESTING: usize = 100;

impl<'a> Prover<'a> {
    /// Returns the facts in conditions of a block.
    pub(crate) fn facts(&mut self, block: BlockId, conditions: &'a Value) -> Vec<Fact<'a>> {
        let mut facts = Vec::new();
        self.add_facts(block, conditions, &mut facts, 0);
        facts
    }

    fn add_facts(
        &mut self,
        block: BlockId,
        conditions: &'a Value,
        facts: &mut Vec<Fact<'a>>,
        depth: usize,
    ) {
        for condition in conjuncts(conditions) {
            if self.spend().is_none() {
                return;
            }
            if condition.is("OPEXPR") {
                facts.extend(self.equality(block, condition));
            } else if condition.is("SUBLINK") && depth < MAX_NESTING {
                self.add_link_facts(block, condition, facts, depth);
            }
        }
    }

    fn equality(&self, block: BlockId, condition: &'a Node) -> Option<Fact<'a>> {
        let [left, right] = condition.field("args").items() else {
            return None;
        };
        let operator = operator_of(condition)?;
        let fact = Fact {
            terms: [left, right].map(|value| Term { block, value }),
            operator,
        };
        let is_own = |value| self.is_compared_variable(value, operator);
        (is_own(left) && is_own(right)).then_some(fact)
    }

    fn is_compared_variable(&self, value: &Value, (operator, collation): (u32, u32)) -> bool {
        strip(value).is_some_and(|node| {
            node.is("VAR") && self.catalog.is_own_equality(operator, collation, node)
        })
    }

    /// Adds the facts of EXISTS and IN: some row of the sub-select fulfils them.
    fn add_link_facts(
        &mut self,
        block: BlockId,
        link: &'a Node,
        facts: &mut Vec<Fact<'a>>,
        depth: usize,
    ) {
        let kind = link.number("subLinkType").unwrap_or(u32::MAX);
        if kind != link_kind::EXISTS && kind != link_kind::ANY {
            return;
        }
        let Some(inner) = self.blocks.of_link(block, link) else {
            return;
        };
        let query = self.blocks.query(inner);
        if kind == link_kind::ANY && !self.is_set_operation(inner) {
            let tested = self.tested_columns(block, link, inner);
            for (fact, output) in &tested {
                // A row of the sub-select matters to equal rows only, unless other rows decide
                // whether it is among the results.
                if boundary(query, output).is_none() {
                    self.tests.entry(inner).or_default().push(*fact);
                }
            }
            facts.extend(tested.into_iter().map(|(fact, _)| fact));
        }
        if needs_input(query) {
            let Some(joins) = query.field("jointree").as_node() else {
                return;
            };
            self.add_facts(inner, joins.field("quals"), facts, depth + 1);
            for item in joins.field("fromlist").items() {
                self.add_inner_join_facts(inner, item, facts, depth + 1);
            }
        }
    }

    /// Returns the equalities of IN, each with the output of the sub-select that it compares.
    fn tested_columns(
        &self,
        block: BlockId,
        link: &'a Node,
        inner: BlockId,
    ) -> Vec<(Fact<'a>, &'a Node)> {
        let tests = conjuncts(link.field("testexpr"));
        let test = |test: &'a Node| {
            let [value, parameter] = test.field("args").items() else {
                return None;
            };
            let parameter = strip(parameter)?;
            let is_output = parameter.is("PARAM")
                && parameter.number::<u32>("paramkind") == Ok(SUBLINK_PARAMETER);
            if !test.is("OPEXPR") || !is_output {
                return None;
            }
            let operator = operator_of(test)?;
            let output = self.output(inner, parameter.number("paramid").ok()?)?;
            let inside = output.field("expr");
            let own = Term { block, value };
            let fact = Fact {
                terms: [
                    own,
                    Term {
                        block: inner,
                        value: inside,
                    },
                ],
                operator,
            };
            let is_own = |value| self.is_compared_variable(value, operator);
            (is_own(value) && is_own(inside)).then_some((fact, output))
        };
        tests.into_iter().filter_map(test).collect()
    }

    /// Adds the facts of inner joins at the top of a sub-select's FROM.
    fn add_inner_join_facts(
        &mut self,
        block: BlockId,
        item: &'a Value,
        facts: &mut Vec<Fact<'a>>,
        depth: usize,
    ) {
        let Some(join) = item.as_node().filter(|node| node.is("JOINEXPR")) else {
            return;
        };
        if join.number::<u32>("jointype") != Ok(INNER_JOIN) || depth > MAX_NESTING {
            return;
        }
        self.add_facts(block, join.field("quals"), facts, depth);
        self.add_inner_join_facts(block, join.field("larg"), facts, depth + 1);
        self.add_inner_join_facts(block, join.field("rarg"), facts, depth + 1);
    }
}
