//! Equalities of two variables, and the conditions in which they stand.

use std::collections::HashMap;
use std::rc::Rc;

use crate::block::BlockId;
use crate::node::{Node, Value};

/// The kind of an inner join.
pub(crate) const INNER_JOIN: u32 = 0;

/// The kind of a join whose right side may be missing.
pub(crate) const LEFT_JOIN: u32 = 1;

/// The kind of a join whose left side may be missing.
pub(crate) const RIGHT_JOIN: u32 = 3;

/// A variable in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) block: BlockId,
    pub(crate) value: &'a Value,
}

/// An equality of two variables.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact<'a> {
    pub(crate) terms: [Term<'a>; 2],
    /// The operator and its collation.
    pub(crate) operator: (u32, u32),
}

/// Returns the conditions that are joined by AND.
pub(crate) fn conjuncts(value: &Value) -> Vec<&Node> {
    let (mut found, mut rest) = (Vec::new(), vec![value]);
    while let Some(value) = rest.pop() {
        match value {
            Value::List(items) => rest.extend(items.iter().rev()),
            Value::Node(node) if node.is("BOOLEXPR") && is_operation(node, "and") => {
                rest.push(node.field("args"));
            }
            Value::Node(node) => found.push(&**node),
            Value::Null | Value::Atom(_) => {}
        }
    }
    found
}

/// Returns whether a Boolean expression is this operation.
pub(crate) fn is_operation(node: &Node, name: &str) -> bool {
    node.field("boolop").as_atom() == Some(name)
}

/// Returns the operator of a comparison with its collation.
pub(crate) fn operator_of(node: &Node) -> Option<(u32, u32)> {
    Some((node.number("opno").ok()?, node.number("inputcollid").ok()?))
}

/// The facts of each entry of a block.
pub(crate) type BlockFacts<'a> = HashMap<usize, Rc<Vec<Fact<'a>>>>;
