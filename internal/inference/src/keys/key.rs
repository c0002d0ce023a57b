//! Recognises the key: which output is which key part, and where its values come from.

use std::collections::BTreeSet;

use crate::block::BlockId;
use crate::keys::answer::KeyPart;
use crate::keys::boundary::boundary;
use crate::keys::fact::{conjuncts, operator_of};
use crate::keys::place::Places;
use crate::keys::problem::KeyProblem;
use crate::keys::prover::Prover;
use crate::keys::source::{Passage, Place, Source, SourceColumn, strip};
use crate::node::{Node, Value};
use crate::relation_use::entry_kind;

/// The kind of a parameter of the query.
const QUERY_PARAMETER: u32 = 0;

/// Returns whether a value is a parameter of the query, also with a length as in `$1::char(8)[]`: a
/// key that the length would change is the key of no row.
fn is_parameter(value: &Value, number: usize) -> bool {
    let Some(node) = strip(value) else {
        return false;
    };
    if !node.is("ARRAYCOERCEEXPR") {
        return is_parameter_node(node, number);
    }
    let parameter = node.field("arg").as_node();
    parameter.is_some_and(|parameter| {
        is_parameter_node(parameter, number)
            && parameter.field("paramtype") == node.field("resulttype")
    })
}

fn is_parameter_node(node: &Node, number: usize) -> bool {
    node.is("PARAM")
        && node.number::<u32>("paramkind") == Ok(QUERY_PARAMETER)
        && node.number::<usize>("paramid") == Ok(number)
}

impl<'a> Prover<'a> {
    /// Finds the key parts, and the columns that hold their values.
    ///
    /// # Errors
    /// Returns an error if one is not understood, or if the query mixes keys.
    pub(crate) fn find_key(&mut self, count: usize) -> Result<Vec<KeyPart>, KeyProblem> {
        let query = self.blocks.query(0);
        let types: Vec<_> = (1..=count)
            .map(|part| self.parameter_type(query, part))
            .collect::<Result<_, _>>()?;
        let is_output = |target: &&Node| target.flag("resjunk") != Ok(true);
        let outputs: Vec<_> = query.nodes("targetList").filter(is_output).collect();
        if outputs.len() < count {
            let found = outputs.len();
            return Err(KeyProblem::TooFewOutputs {
                found,
                expected: count,
            });
        }
        let (mut parts, mut key) = (Vec::new(), Vec::new());
        for ((part, target), type_oid) in (1..).zip(outputs).zip(types) {
            if let Some(how) = boundary(query, target) {
                return Err(KeyProblem::Mixed { part, how });
            }
            let output = name_of(target);
            let aliases = self.key_columns(part, target)?;
            if aliases.is_empty() {
                return Err(KeyProblem::NotTheKey { part, output });
            }
            key.push(aliases);
            parts.push(KeyPart {
                parameter: part,
                output,
                type_oid,
            });
        }
        self.key = key;
        Ok(parts)
    }

    /// Returns the type of one key of a parameter that the query reads once.
    fn parameter_type(&self, query: &'a Node, part: usize) -> Result<u32, KeyProblem> {
        let mut found = Vec::new();
        for (_, value) in &query.fields {
            value.for_each_node(&mut |node| {
                if is_parameter_node(node, part) {
                    found.push(node);
                }
            });
        }
        match found[..] {
            [] => Err(KeyProblem::Unused { part }),
            [only] => {
                let array: Option<u32> = only.number("paramtype").ok();
                let facts = array.and_then(|array| self.catalog.types.get(&array));
                let element = facts.map(|facts| facts.element).filter(|oid| *oid != 0);
                element.ok_or(KeyProblem::NotUnderstood)
            }
            [..] => Err(KeyProblem::UsedTwice { part }),
        }
    }

    /// Returns the columns that hold the values of a key part, none if the output is not that part.
    fn key_columns(
        &mut self,
        part: usize,
        target: &'a Node,
    ) -> Result<BTreeSet<SourceColumn>, KeyProblem> {
        if self.is_set_operation(0) {
            return Ok(BTreeSet::new());
        }
        let output = target.field("expr");
        if let Some(column) = self.equal_at_top(part, output) {
            return Ok(BTreeSet::from([column]));
        }
        let mut passage = Passage::default();
        let Some(Source::Column(column)) = self.source(0, output, &mut passage) else {
            return Ok(BTreeSet::new());
        };
        for (block, output) in &passage.outputs {
            if let Some(how) = boundary(self.blocks.query(*block), output) {
                return Err(KeyProblem::Mixed { part, how });
            }
        }
        if self.is_key_array(column, part) {
            return Ok(BTreeSet::from([column]));
        }
        let mut aliases = BTreeSet::new();
        let passed = passage.outputs.iter().map(|(block, _)| *block);
        let chain: Vec<_> = std::iter::once(0).chain(passed).collect();
        if chain
            .into_iter()
            .any(|block| self.filtered_by_key(block, part).contains(&column))
        {
            aliases.insert(column);
        }
        aliases.extend(self.equal_arrays(part, column));
        if !aliases.is_empty() {
            aliases.insert(column);
        }
        Ok(aliases)
    }

    /// Returns the column of `unnest` that equals an output by a fact of the query's own FROM.
    fn equal_at_top(&mut self, part: usize, output: &'a Value) -> Option<SourceColumn> {
        let variable = self.own_variable(output)?;
        let position: usize = variable.number("varno").ok()?;
        let is_same = |value: &Value| {
            strip(value).is_some_and(|other| {
                let fields = ["varno", "varattno"];
                let is_equal = |name: &&str| other.field(name) == variable.field(name);
                other.number::<u32>("varlevelsup") == Ok(0) && fields.iter().all(is_equal)
            })
        };
        let facts = self.enforced(0).get(&position).cloned()?;
        for fact in facts.iter() {
            let [left, right] = fact.terms;
            for (own, other) in [(left, right), (right, left)] {
                if own.block == 0
                    && is_same(own.value)
                    && let Some(column) =
                        self.compared_column(other.block, other.value, fact.operator)
                    && self.is_key_array(column, part)
                {
                    return Some(column);
                }
            }
        }
        None
    }

    /// Returns the variable of the query's FROM that an output is, behind the aliases of joins.
    fn own_variable(&self, output: &'a Value) -> Option<&'a Node> {
        let mut variable = strip(output)?;
        // A chain of aliases is shorter than the range table.
        for _ in 0..=self.blocks.query(0).field("rtable").items().len() {
            if !variable.is("VAR") || variable.number::<u32>("varlevelsup") != Ok(0) {
                return None;
            }
            let entry = self.blocks.entry(0, variable.number("varno").ok()?)?;
            let field = match entry.number::<u32>("rtekind").ok()? {
                entry_kind::JOIN => "joinaliasvars",
                entry_kind::GROUP => "groupexprs",
                _ => return Some(variable),
            };
            let column: usize = variable.number("varattno").ok()?;
            let member = entry.field(field).items().get(column.checked_sub(1)?)?;
            variable = strip(member)?;
        }
        None
    }

    /// Returns the columns of `unnest` that equal a column by the facts of its own block.
    fn equal_arrays(&mut self, part: usize, column: SourceColumn) -> Vec<SourceColumn> {
        let facts = self.enforced(column.place.block);
        let mut found = Vec::new();
        for fact in facts
            .get(&column.place.entry)
            .into_iter()
            .flat_map(|f| f.iter())
        {
            let sides = fact
                .terms
                .map(|term| self.compared_column(term.block, term.value, fact.operator));
            if let [Some(left), Some(right)] = sides {
                for (own, other) in [(left, right), (right, left)] {
                    if own == column && self.is_key_array(other, part) {
                        found.push(other);
                    }
                }
            }
        }
        found
    }

    /// Returns the columns that the WHERE of a block compares with `= ANY` of a key array.
    fn filtered_by_key(&mut self, block: BlockId, part: usize) -> Vec<SourceColumn> {
        let Some(joins) = self.blocks.query(block).field("jointree").as_node() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for condition in conjuncts(joins.field("quals")) {
            let [value, array] = condition.field("args").items() else {
                continue;
            };
            if condition.is("SCALARARRAYOPEXPR")
                && condition.flag("useOr") == Ok(true)
                && is_parameter(array, part)
                && let Some(operator) = operator_of(condition)
            {
                found.extend(self.compared_column(block, value, operator));
            }
        }
        found
    }

    /// Returns whether a column is that of `unnest` of a key array itself: not its ordinality, and not
    /// that of another function.
    fn is_key_array(&self, column: SourceColumn, part: usize) -> bool {
        let place = column.place;
        self.key_array_column(place, part) == Some(column.column)
    }

    /// Returns the column of a function entry that is `unnest` of a key array.
    fn key_array_column(&self, place: Place, part: usize) -> Option<i32> {
        let entry = self.blocks.entry(place.block, place.entry)?;
        if entry.number::<u32>("rtekind").ok()? != entry_kind::FUNCTION {
            return None;
        }
        let mut column = 1;
        for function in entry.nodes("functions") {
            let width: i32 = function.number("funccolcount").ok()?;
            let call = function.field("funcexpr").as_node()?;
            let is_unnest = call.is("FUNCEXPR")
                && call
                    .number("funcid")
                    .is_ok_and(|oid| self.catalog.is_unnest(oid));
            let arguments = call.field("args").items();
            if is_unnest && width == 1 && arguments.iter().all(|value| is_parameter(value, part)) {
                return Some(column);
            }
            column = column.checked_add(width)?;
        }
        None
    }

    /// Checks that every place where a key array is read gives the key of the row itself. A CTE that
    /// is used twice may read it once for the row, and once for the sum over all keys.
    ///
    /// # Errors
    /// Returns an error if a place gives other keys too.
    pub(crate) fn check_key_places(&mut self, places: &Places) -> Result<(), KeyProblem> {
        for part in 1..=self.key.len() {
            let mut columns = Vec::new();
            for place in &places.functions {
                let column = self.key_array_column(*place, part);
                columns.extend(column.map(|column| SourceColumn {
                    place: *place,
                    column,
                }));
            }
            for block in &places.blocks {
                columns.extend(self.filtered_by_key(*block, part));
            }
            for column in columns {
                let classes = self.classes(column.place);
                let class = classes.of_own(column.column);
                if !class.is_some_and(|class| class.parts.contains(&part)) {
                    return Err(KeyProblem::UsedTwice { part });
                }
            }
        }
        Ok(())
    }
}

/// Returns the name of an output, without the escapes of the tree, which writes `""` for an empty one.
fn name_of(target: &Node) -> String {
    let text = target.field("resname").as_atom().unwrap_or("?column?");
    let text = if text == "\"\"" { "" } else { text };
    let mut name = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        name.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    name
}
