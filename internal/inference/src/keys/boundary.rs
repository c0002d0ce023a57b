//! The boundaries of blocks: whether a filter on an output may be applied to the rows that a block
//! reads.

use crate::keys::problem::KeyMixing;
use crate::node::{Node, Value};

/// The kind of the empty grouping set, which gives a row without any input.
const EMPTY_SET: u32 = 0;

/// Returns what keeps `WHERE output = x` above a block from being applied to the rows that the block
/// reads, or `None` if nothing does.
pub(crate) fn boundary(query: &Node, output: &Node) -> Option<KeyMixing> {
    let reference = output.field("ressortgroupref");
    let is_in = |clause: &Value| {
        let mut items = clause.items().iter().filter_map(Value::as_node);
        items.any(|item| item.field("tleSortGroupRef") == reference)
    };
    let is_empty = |field: &str| *query.field(field) == Value::Null;
    if !is_empty("limitCount") || !is_empty("limitOffset") {
        return Some(KeyMixing::Limit);
    }
    if !query
        .nodes("windowClause")
        .all(|window| is_in(window.field("partitionClause")))
    {
        return Some(KeyMixing::Window);
    }
    // A missing flag counts as set.
    let is_set = |flag: &str| query.flag(flag) != Ok(false);
    if is_set("hasDistinctOn") && !is_in(query.field("distinctClause")) {
        return Some(KeyMixing::DistinctOn);
    }
    let has_groups = !is_empty("groupClause");
    let is_grouped = is_set("hasAggs") || has_groups || !is_empty("havingQual");
    if !is_empty("groupingSets") && !has_one_grouping_set(query) {
        return Some(KeyMixing::Group);
    }
    (is_grouped && !is_in(query.field("groupClause"))).then_some(KeyMixing::Group)
}

/// Returns whether a query groups by one expression in one grouping set, such as `ROLLUP (a)`.
fn has_one_grouping_set(query: &Node) -> bool {
    let sets = query.field("groupingSets");
    let mut are_known = true;
    sets.for_each_node(&mut |set| {
        let kind = set.number::<u32>("kind");
        are_known &= !set.is("GROUPINGSET") || kind.is_ok_and(|kind| kind != EMPTY_SET);
    });
    are_known && sets.items().len() == 1 && query.field("groupClause").items().len() == 1
}

/// Returns whether every row of a query comes from a row of its FROM that its WHERE accepts. An
/// aggregate without groups gives a row without any.
pub(crate) fn needs_input(query: &Node) -> bool {
    let is_empty = |field: &str| *query.field(field) == Value::Null;
    let is_grouped = query.flag("hasAggs") != Ok(false) || !is_empty("havingQual");
    is_empty("setOperations")
        && is_empty("groupingSets")
        && (!is_grouped || !is_empty("groupClause"))
}
