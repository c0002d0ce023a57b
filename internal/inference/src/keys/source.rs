//! The columns of tables and functions that variables stand for.

use crate::block::BlockId;
use crate::node::{Node, Value};

/// A range-table entry of a block: one place where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) block: BlockId,
    pub(crate) entry: usize,
}

/// A column of a table or of a function in FROM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceColumn {
    pub(crate) place: Place,
    pub(crate) column: i32,
}

/// The end of a variable's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Column(SourceColumn),
    /// The output of a set operation, which has a source in each arm.
    SetOperation(BlockId, i32),
}

/// What a variable passed on its way.
#[derive(Debug, Default)]
pub(crate) struct Passage<'a> {
    /// The outputs of blocks.
    pub(crate) outputs: Vec<(BlockId, &'a Node)>,
    /// All variables, the first and the last included.
    pub(crate) variables: Vec<&'a Node>,
}

/// Removes conversions that do not change the value.
pub(crate) fn strip(mut value: &Value) -> Option<&Node> {
    loop {
        let node = value.as_node()?;
        if !node.is("RELABELTYPE") && !node.is("COERCETODOMAIN") {
            return Some(node);
        }
        value = node.field("arg");
    }
}
