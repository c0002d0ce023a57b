//! The query blocks of a tree: the query, its sub-selects, the bodies of views, and each reference
//! to a CTE.

use std::collections::HashMap;

use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

/// The largest number of blocks. A view that reads itself has no end.
const MAX_BLOCKS: usize = 10_000;

/// The position of a block in [`Blocks`].
pub(crate) type BlockId = usize;

/// What a range-table entry is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EntryContents {
    /// A sub-select, a view or a CTE.
    Block(BlockId),
    /// A table, a function, a recursive reference, or anything else.
    Other,
}

/// The blocks that were entered so far.
pub(crate) struct Blocks<'a> {
    views: &'a HashMap<u32, Value>,
    all: Vec<Block<'a>>,
}

struct Block<'a> {
    query: &'a Node,
    /// The block whose relations a variable of the next level means.
    parent: Option<BlockId>,
    /// The blocks of range-table entries, by position.
    entries: HashMap<usize, EntryContents>,
    /// The blocks of sub-selects in expressions, by the address of their node.
    links: HashMap<usize, BlockId>,
    /// The range-table entry whose rows this block gives. The query and sub-selects in expressions
    /// have none.
    outer: Option<(BlockId, usize)>,
    /// True for a CTE that reads itself.
    is_recursive: bool,
}

impl<'a> Blocks<'a> {
    /// Creates the block of the whole query, whose id is 0.
    pub(crate) fn new(query: &'a Node, views: &'a HashMap<u32, Value>) -> Self {
        let mut blocks = Self {
            views,
            all: Vec::new(),
        };
        blocks.add(query, None);
        blocks
    }

    fn add(&mut self, query: &'a Node, parent: Option<BlockId>) -> BlockId {
        self.all.push(Block {
            query,
            parent,
            entries: HashMap::new(),
            links: HashMap::new(),
            outer: None,
            is_recursive: false,
        });
        self.all.len() - 1
    }

    /// Returns the range-table entry whose rows a block gives.
    pub(crate) fn outer(&self, block: BlockId) -> Option<(BlockId, usize)> {
        self.all[block].outer
    }

    /// Returns whether a block is a CTE that reads itself.
    pub(crate) fn is_recursive(&self, block: BlockId) -> bool {
        self.all[block].is_recursive
    }

    pub(crate) fn query(&self, block: BlockId) -> &'a Node {
        self.all[block].query
    }

    /// Returns a range-table entry; the first has position 1.
    pub(crate) fn entry(&self, block: BlockId, position: usize) -> Option<&'a Node> {
        let table = self.query(block).field("rtable").items();
        table.get(position.checked_sub(1)?)?.as_node()
    }

    /// Returns the block that is `levels` outside of a block.
    pub(crate) fn up(&self, block: BlockId, levels: u32) -> Option<BlockId> {
        (0..levels).try_fold(block, |block, _| self.all[block].parent)
    }

    /// Returns what an entry of the range table is made of, or `None` if the tree is not as
    /// expected.
    pub(crate) fn of_entry(&mut self, block: BlockId, position: usize) -> Option<EntryContents> {
        if let Some(known) = self.all[block].entries.get(&position) {
            return Some(*known);
        }
        if self.all.len() > MAX_BLOCKS {
            return None;
        }
        let entry = self.entry(block, position)?;
        let mut is_recursive = false;
        let found = match entry.number::<u32>("rtekind").ok()? {
            entry_kind::SUBQUERY => {
                let query = entry.field("subquery").as_node()?;
                EntryContents::Block(self.add(query, Some(block)))
            }
            entry_kind::RELATION => match self.views.get(&entry.number::<u32>("relid").ok()?) {
                Some(tree) => EntryContents::Block(self.add(tree.first_query()?, None)),
                None => EntryContents::Other,
            },
            entry_kind::CTE if !entry.flag("self_reference").ok()? => {
                let home = self.up(block, entry.number("ctelevelsup").ok()?)?;
                let name = entry.field("ctename");
                let mut ctes = self.query(home).nodes("cteList");
                let cte = ctes.find(|cte| cte.field("ctename") == name)?;
                let query = cte.field("ctequery").as_node()?;
                is_recursive = cte.flag("cterecursive").ok()?;
                EntryContents::Block(self.add(query, Some(home)))
            }
            _ => EntryContents::Other,
        };
        if let EntryContents::Block(inner) = found {
            self.all[inner].outer = Some((block, position));
            self.all[inner].is_recursive = is_recursive;
        }
        self.all[block].entries.insert(position, found);
        Some(found)
    }

    /// Returns the block of a sub-select in an expression.
    pub(crate) fn of_link(&mut self, block: BlockId, link: &'a Node) -> Option<BlockId> {
        let address = std::ptr::from_ref(link).addr();
        if let Some(known) = self.all[block].links.get(&address) {
            return Some(*known);
        }
        if self.all.len() > MAX_BLOCKS {
            return None;
        }
        let id = self.add(link.field("subselect").as_node()?, Some(block));
        self.all[block].links.insert(address, id);
        Some(id)
    }
}
