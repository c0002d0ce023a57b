//! Leaves out the outputs of views and sub-selects that nobody uses.
//!
//! PostgreSQL lists the columns that a view or sub-select names, even if the query above uses only
//! some of them. This saves needless reads; correctness never depends on it.

use std::collections::{HashMap, HashSet};

use crate::block::{BlockId, Blocks, EntryContents};
use crate::column_sets::ColumnSets;
use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

/// The kinds of range-table entries that are understood. With any other, nothing is left out.
const KNOWN_KINDS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 9];

/// The largest number of nested expressions and blocks.
const MAX_NESTING: usize = 600;

/// Returns the columns that can reach the result, by relation, or `None` if the tree has a form
/// that is not understood.
pub(crate) fn narrow(query: &Node, views: &HashMap<u32, Value>) -> Option<ColumnSets> {
    let mut narrowing = Narrowing {
        blocks: Blocks::new(query, views),
        reads: ColumnSets::new(),
        done: HashSet::new(),
        depth: 0,
    };
    narrowing.mark_base(0)?;
    narrowing.mark_outputs(0, None)?;
    Some(narrowing.reads)
}

/// What was marked in a block.
#[derive(PartialEq, Eq, Hash)]
enum Mark {
    /// What decides which rows there are.
    Base,
    /// One output, or all.
    Outputs(Option<i32>),
    /// A column of a range-table entry.
    Column(usize, i32),
}

struct Narrowing<'a> {
    blocks: Blocks<'a>,
    reads: ColumnSets,
    done: HashSet<(BlockId, Mark)>,
    /// The number of expressions and blocks that are being marked.
    depth: usize,
}

/// Each function returns `None` if the tree is not as expected.
impl<'a> Narrowing<'a> {
    /// Marks something below what is being marked. Gives up if that is nested too deeply for the
    /// stack: every recursion passes through here.
    fn nested(&mut self, mark: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return None;
        }
        mark(self)?;
        self.depth -= 1;
        Some(())
    }

    /// Marks what an expression uses.
    fn mark_expression(&mut self, block: BlockId, value: &'a Value) -> Option<()> {
        self.nested(|narrowing| narrowing.mark_value(block, value))
    }

    fn mark_value(&mut self, block: BlockId, value: &'a Value) -> Option<()> {
        match value {
            Value::Null | Value::Atom(_) => {}
            Value::List(items) => {
                for item in items {
                    self.mark_expression(block, item)?;
                }
            }
            Value::Node(node) if node.is("VAR") => {
                let home = self.blocks.up(block, node.number("varlevelsup").ok()?)?;
                let (entry, column) = (node.number("varno").ok()?, node.number("varattno").ok()?);
                self.mark_column(home, entry, column)?;
            }
            Value::Node(node) if node.is("SUBLINK") => {
                let inner = self.blocks.of_link(block, node)?;
                self.mark_base(inner)?;
                // EXISTS uses no output.
                if node.number::<u32>("subLinkType").ok()? != 0 {
                    self.mark_outputs(inner, None)?;
                }
                self.mark_expression(block, node.field("testexpr"))?;
            }
            Value::Node(node) => {
                for (_, field) in &node.fields {
                    self.mark_expression(block, field)?;
                }
            }
        }
        Some(())
    }

    fn mark_outputs(&mut self, block: BlockId, output: Option<i32>) -> Option<()> {
        if !self.done.insert((block, Mark::Outputs(output))) {
            return Some(());
        }
        let query = self.blocks.query(block);
        for target in query.nodes("targetList") {
            if output.is_none() || output == Some(target.number("resno").ok()?) {
                self.mark_expression(block, target.field("expr"))?;
            }
        }
        if *query.field("setOperations") != Value::Null {
            for position in 1..=query.field("rtable").items().len() {
                if let EntryContents::Block(inner) = self.blocks.of_entry(block, position)? {
                    self.nested(|narrowing| narrowing.mark_outputs(inner, output))?;
                }
            }
        }
        Some(())
    }

    /// Marks what decides which rows a block has, and in which order.
    fn mark_base(&mut self, block: BlockId) -> Option<()> {
        if !self.done.insert((block, Mark::Base)) {
            return Some(());
        }
        let query = self.blocks.query(block);
        let compares_rows = compares_rows(query);
        for field in [
            "jointree",
            "havingQual",
            "limitOffset",
            "limitCount",
            "windowClause",
        ] {
            self.mark_expression(block, query.field(field))?;
        }
        let multiplies_rows = query.flag("hasTargetSRFs").ok()?;
        for target in query.nodes("targetList") {
            let is_sorted = target.number::<u32>("ressortgroupref").ok()? != 0;
            if is_sorted || compares_rows || multiplies_rows || target.flag("resjunk").ok()? {
                self.mark_outputs(block, Some(target.number("resno").ok()?))?;
            }
        }
        for position in 1..=query.field("rtable").items().len() {
            self.mark_entry(block, position)?;
        }
        Some(())
    }

    fn mark_entry(&mut self, block: BlockId, position: usize) -> Option<()> {
        let entry = self.blocks.entry(block, position)?;
        let kind: u32 = entry.number("rtekind").ok()?;
        if !KNOWN_KINDS.contains(&kind) {
            return None;
        }
        if kind == entry_kind::RELATION && !entry.flag("inFromCl").ok()? {
            return Some(());
        }
        if let EntryContents::Block(inner) = self.blocks.of_entry(block, position)? {
            self.nested(|narrowing| narrowing.mark_base(inner))?;
        } else if kind == entry_kind::RELATION {
            self.reads.entry(entry.number("relid").ok()?).or_default();
        }
        for field in ["functions", "tablefunc", "tablesample", "values_lists"] {
            self.mark_expression(block, entry.field(field))?;
        }
        Some(())
    }

    fn mark_column(&mut self, block: BlockId, position: usize, column: i32) -> Option<()> {
        if !self.done.insert((block, Mark::Column(position, column))) {
            return Some(());
        }
        let entry = self.blocks.entry(block, position)?;
        if let EntryContents::Block(inner) = self.blocks.of_entry(block, position)? {
            let output = (column != 0).then_some(column);
            return self.nested(|narrowing| narrowing.mark_outputs(inner, output));
        }
        let member = |field: &str| {
            let index = usize::try_from(column).ok()?.checked_sub(1)?;
            entry.field(field).items().get(index)
        };
        match entry.number::<u32>("rtekind").ok()? {
            entry_kind::RELATION => {
                let relation = entry.number("relid").ok()?;
                self.reads.entry(relation).or_default().insert(column);
            }
            entry_kind::JOIN if column == 0 => {
                let mut joined = Vec::new();
                entry.field("joinaliasvars").for_each_node(&mut |node| {
                    if node.is("VAR") {
                        joined.push(node.number::<usize>("varno").ok());
                    }
                });
                for position in joined {
                    self.nested(|narrowing| narrowing.mark_column(block, position?, 0))?;
                }
            }
            entry_kind::JOIN => self.mark_expression(block, member("joinaliasvars")?)?,
            entry_kind::GROUP => self.mark_expression(block, member("groupexprs")?)?,
            _ => {}
        }
        Some(())
    }
}

/// Returns whether every output decides which rows a set operation has. A chain of UNION ALL keeps
/// all rows, unless it is recursive: then its outputs decide how it goes on.
fn compares_rows(query: &Node) -> bool {
    let operations = query.field("setOperations");
    if *operations == Value::Null {
        return false;
    }
    let mut keeps_all = true;
    operations.for_each_node(&mut |node| {
        if node.is("SETOPERATIONSTMT") {
            let is_union = node.number::<u32>("op") == Ok(UNION);
            keeps_all &= is_union && node.flag("all") == Ok(true);
        }
    });
    let mut is_recursive = false;
    query.field("rtable").for_each_node(&mut |node| {
        is_recursive |= node.flag("self_reference") == Ok(true);
    });
    !keeps_all || is_recursive
}

/// The number of UNION in `SetOperation`.
const UNION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_tree;

    fn query_over(rtable: &str, targets: &str, operations: &str) -> Value {
        parse_tree(&format!(
            "{{QUERY :hasTargetSRFs false :rtable ({rtable}) :targetList ({targets}) \
             :setOperations {operations}}}"
        ))
        .unwrap()
    }

    fn narrow_query(tree: &Value, views: &HashMap<u32, Value>) -> Option<ColumnSets> {
        narrow(tree.first_query().unwrap(), views)
    }

    #[test]
    fn set_operation_of_a_view_over_itself_is_given_up() {
        let entry = "{RANGETBLENTRY :rtekind 0 :relid 2 :inFromCl false}";
        let tree = query_over(entry, "", "{SETOPERATIONSTMT :op 1 :all true}");
        let views = HashMap::from([(2, tree.clone())]);
        assert_eq!(narrow_query(&tree, &views), None);
    }

    #[test]
    fn long_chain_of_joined_rows_is_given_up() {
        let chain = |length: usize| {
            let join = |next| {
                let row = format!("{{VAR :varno {next} :varattno 0 :varlevelsup 0}}");
                format!("{{RANGETBLENTRY :rtekind 2 :joinaliasvars ({row})}} ")
            };
            let mut rtable: String = (2..=length).map(join).collect();
            rtable += "{RANGETBLENTRY :rtekind 0 :relid 7 :inFromCl true}";
            let row = "{VAR :varno 1 :varattno 0 :varlevelsup 0}";
            let target =
                format!("{{TARGETENTRY :resno 1 :ressortgroupref 0 :resjunk false :expr {row}}}");
            query_over(&rtable, &target, "<>")
        };
        let whole_row = ColumnSets::from([(7, [0].into())]);
        assert_eq!(
            narrow_query(&chain(3), &HashMap::new()),
            Some(whole_row),
            "a short chain is followed"
        );
        assert_eq!(narrow_query(&chain(20_000), &HashMap::new()), None);
    }
}
