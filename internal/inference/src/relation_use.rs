//! The relations that a tree names, with the columns for which the executor checks the right to
//! read.

use crate::node::{Node, UnreadableTree, Value};

/// The kinds of range-table entries, `RTEKind` of PostgreSQL.
pub(crate) mod entry_kind {
    pub(crate) const RELATION: u32 = 0;
    pub(crate) const SUBQUERY: u32 = 1;
    pub(crate) const JOIN: u32 = 2;
    pub(crate) const FUNCTION: u32 = 3;
    pub(crate) const CTE: u32 = 6;
    /// The last kind that stored trees of any version have: the grouping step, since 18.
    pub(crate) const GROUP: u32 = 9;
}

/// The bit of SELECT in `requiredPerms`.
const SELECT_RIGHT: u64 = 2;

/// What is subtracted from the members of `selectedCols` to get attribute numbers.
const COLUMN_OFFSET: i32 = 7;

/// One place where a relation is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelationUse {
    pub(crate) relation: u32,
    /// False for `FROM ONLY`.
    pub(crate) with_children: bool,
    /// The numbers of the columns: 0 is the whole row, and negative ones are system columns.
    pub(crate) columns: Vec<i32>,
    pub(crate) is_sampled: bool,
}

/// Returns every place where the tree reads a relation.
pub(crate) fn relation_uses(tree: &Value) -> Result<Vec<RelationUse>, UnreadableTree> {
    let mut queries = Vec::new();
    tree.for_each_node(&mut |node| {
        if node.is("QUERY") {
            queries.push(node);
        }
    });
    let mut uses = Vec::new();
    for query in queries {
        let permissions: Vec<&Node> = query.nodes("rteperminfos").collect();
        for entry in query.nodes("rtable") {
            uses.extend(relation_use(entry, &permissions)?);
        }
    }
    Ok(uses)
}

/// Returns the use of one entry, or `None` if it is no relation or is not read. The rules of 14 and
/// 15 have entries OLD and NEW that are not read.
fn relation_use(
    entry: &Node,
    permissions: &[&Node],
) -> Result<Option<RelationUse>, UnreadableTree> {
    let kind: u32 = entry.number("rtekind")?;
    if kind > entry_kind::GROUP {
        return Err(entry.unexpected("rtekind"));
    }
    if kind != entry_kind::RELATION {
        return Ok(None);
    }
    let holder = if entry.get("selectedCols").is_some() {
        entry
    } else {
        match entry.number::<usize>("perminfoindex")? {
            0 => return Ok(None),
            index => permissions
                .get(index - 1)
                .ok_or_else(|| entry.unexpected("perminfoindex"))?,
        }
    };
    if holder.number::<u64>("requiredPerms")? & SELECT_RIGHT == 0 {
        return Ok(None);
    }
    let columns = holder.members("selectedCols")?;
    Ok(Some(RelationUse {
        relation: entry.number("relid")?,
        with_children: entry.flag("inh")?,
        columns: columns.into_iter().map(|c| c - COLUMN_OFFSET).collect(),
        is_sampled: *entry.field("tablesample") != Value::Null,
    }))
}
