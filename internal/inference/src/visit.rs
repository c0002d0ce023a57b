//! The steps of an exploration: what each relation, function and policy leads to.

use std::collections::BTreeSet;

use crate::builtin::{self, BuiltinEffect};
use crate::column_sets::ColumnSets;
use crate::exploration::{Exploration, Origin, Step};
use crate::facts::{FIRST_USER_OID, RelationFacts};
use crate::node::{Node, UnreadableTree, Value};
use crate::note::Note;
use crate::parse::parse_tree;
use crate::refusal::Refusal;
use crate::relation_use::{RelationUse, relation_uses};

impl Exploration {
    /// Notes everything in a tree that leads further.
    pub(crate) fn follow(&mut self, tree: &Value, origin: Origin) -> Result<(), Refusal> {
        for used in relation_uses(tree)? {
            if used.is_sampled {
                self.notes.insert(Note::Random);
            }
            self.steps.push(Step::Relation(used, origin));
        }
        let mut nodes = Vec::new();
        tree.for_each_node(&mut |node| nodes.push(node));
        for node in nodes {
            self.follow_node(node)?;
        }
        Ok(())
    }

    fn follow_node(&mut self, node: &Node) -> Result<(), Refusal> {
        if node.is("QUERY") {
            if *node.field("utilityStmt") != Value::Null {
                return Err(Refusal::NotAQuery);
            }
            if node.number::<u32>("commandType")? != 1 || node.flag("hasModifyingCTE")? {
                return Err(Refusal::Writes(
                    "INSERT, UPDATE, DELETE or MERGE".to_owned(),
                ));
            }
            if node.flag("hasForUpdate")? {
                return Err(Refusal::Locks);
            }
        } else if node.is("NEXTVALUEEXPR") {
            return Err(Refusal::Writes("nextval".to_owned()));
        } else if node.is("SQLVALUEFUNCTION") {
            let note = builtin::value_function(node.number("op")?);
            self.notes
                .insert(note.ok_or_else(|| node.unexpected("op"))?);
        }
        for field in ["funcid", "opfuncid", "aggfnoid", "winfnoid"] {
            if let Some(oid) = node
                .field(field)
                .as_atom()
                .and_then(|text| text.parse().ok())
            {
                self.add_function(oid);
            }
        }
        for field in ["opno", "eqop", "sortop", "opnos"] {
            let value = node.field(field);
            let atoms = value.items().iter().chain(std::iter::once(value));
            for oid in atoms
                .filter_map(Value::as_atom)
                .filter_map(|text| text.parse().ok())
            {
                if oid >= FIRST_USER_OID && self.seen_operators.insert(oid) {
                    self.steps.push(Step::Operator(oid));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn add_function(&mut self, oid: u32) {
        if oid != 0 && self.seen_functions.insert(oid) {
            self.steps.push(Step::Function(oid));
        }
    }

    pub(crate) fn visit_relation(
        &mut self,
        used: &RelationUse,
        origin: Origin,
    ) -> Result<(), Refusal> {
        let oid = used.relation;
        let Some(facts) = self.relations.get(&oid).cloned() else {
            return Err(UnreadableTree::new(format!("relation {oid} does not exist")).into());
        };
        let name = facts.name.clone();
        if facts.is_temporary {
            return Err(Refusal::Temporary(name));
        }
        if matches!(facts.schema.as_str(), "pg_catalog" | "information_schema") {
            self.notes.insert(Note::Catalog(name));
            return Ok(());
        }
        match facts.kind.as_str() {
            "S" => {
                self.notes.insert(Note::Sequence);
                return Ok(());
            }
            "v" => return self.visit_view(&facts, origin),
            "m" => drop(self.notes.insert(Note::MaterializedView(name.clone()))),
            "f" => drop(self.notes.insert(Note::ForeignTable(name.clone()))),
            _ => {}
        }
        if used.columns.iter().any(|column| *column < 0) {
            self.notes.insert(Note::SystemColumn);
        }
        if used.with_children && facts.has_children {
            self.notes.insert(Note::Children(name));
        }
        if origin == Origin::Deep {
            self.in_functions.insert(oid);
        }
        let columns = self.without_virtual(oid, &used.columns.iter().copied().collect());
        self.sets(origin).entry(oid).or_default().extend(columns);
        self.visit_policies(&facts)
    }

    fn visit_view(&mut self, facts: &RelationFacts, origin: Origin) -> Result<(), Refusal> {
        self.notes.insert(Note::View(facts.name.clone()));
        if !self.seen_views.insert((facts.oid, origin)) {
            return Ok(());
        }
        let text = facts.view_tree.as_deref().unwrap_or_default();
        let tree = parse_tree(text)?;
        self.follow(&tree, origin)?;
        self.views.insert(facts.oid, tree);
        Ok(())
    }

    fn visit_policies(&mut self, facts: &RelationFacts) -> Result<(), Refusal> {
        if facts.policy_trees.is_empty() || !self.seen_policies.insert(facts.oid) {
            return Ok(());
        }
        self.notes.insert(Note::Policy(facts.name.clone()));
        for text in &facts.policy_trees {
            let tree = parse_tree(text)?;
            let mut own = BTreeSet::new();
            collect_own_columns(&tree, 0, &mut own)?;
            let own = self.without_virtual(facts.oid, &own);
            self.deep.entry(facts.oid).or_default().extend(own);
            self.follow(&tree, Origin::Deep)?;
        }
        Ok(())
    }

    pub(crate) fn visit_function(&mut self, oid: u32) -> Result<(), Refusal> {
        let Some(facts) = self.functions.get(&oid).cloned() else {
            return Err(UnreadableTree::new(format!("function {oid} does not exist")).into());
        };
        if facts.schema == "pg_catalog" && oid < FIRST_USER_OID {
            match builtin::effect(&facts.name, facts.argument_count, &facts.arguments) {
                BuiltinEffect::None => {}
                BuiltinEffect::Writes => return Err(Refusal::Writes(facts.name)),
                BuiltinEffect::Notes(note) => drop(self.notes.insert(note)),
            }
            return Ok(());
        }
        if let Some(parts) = facts.aggregate_of {
            parts.into_iter().for_each(|part| self.add_function(part));
            return Ok(());
        }
        if facts.language == "sql" {
            let is_constant =
                facts.is_immutable && facts.body_tree.is_none() && facts.argument_count == 0;
            if !is_constant {
                self.notes.insert(Note::Function(facts.name));
            }
            match facts.body_tree {
                Some(body) => self.follow(&parse_tree(&body)?, Origin::Deep)?,
                None => self.steps.push(Step::Body(oid)),
            }
        } else if facts.is_of_extension && matches!(facts.language.as_str(), "c" | "internal") {
            if !facts.is_immutable {
                self.notes.insert(Note::Extension(facts.name));
            }
        } else if !facts.is_immutable {
            self.notes.insert(Note::Hidden(facts.name));
        }
        Ok(())
    }

    /// Follows a body, or notes that it is hidden. An immutable function reads no table.
    pub(crate) fn visit_body(&mut self, oid: u32, body: Option<&String>) -> Result<(), Refusal> {
        match (body, self.functions.get(&oid)) {
            (Some(text), _) => self.follow(&parse_tree(text)?, Origin::Deep),
            (None, Some(facts)) if !facts.is_immutable => {
                self.notes.insert(Note::Hidden(facts.name.clone()));
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    fn sets(&mut self, origin: Origin) -> &mut ColumnSets {
        match origin {
            Origin::Query => &mut self.reads,
            Origin::Deep => &mut self.deep,
        }
    }
}

/// Collects the columns of the protected table in a policy's expression. It is relation 1 of the
/// outermost level.
fn collect_own_columns(
    value: &Value,
    depth: u32,
    found: &mut BTreeSet<i32>,
) -> Result<(), UnreadableTree> {
    match value {
        Value::Null | Value::Atom(_) => {}
        Value::List(items) => {
            for item in items {
                collect_own_columns(item, depth, found)?;
            }
        }
        Value::Node(node) => {
            if node.is("VAR")
                && node.number::<u32>("varlevelsup")? == depth
                && node.number::<i64>("varno")? == 1
            {
                found.insert(node.number("varattno")?);
            }
            let below = depth + u32::from(node.is("QUERY"));
            for (_, field) in &node.fields {
                collect_own_columns(field, below, found)?;
            }
        }
    }
    Ok(())
}
