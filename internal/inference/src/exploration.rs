//! Follows a query's tree through views, functions, operators and policies to the tables.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::builtin;
use crate::column_sets::{ColumnSets, column_name, merge};
use crate::facts::{
    CatalogFacts, EqualityFacts, FunctionFacts, PendingFacts, RelationFacts, TypeFacts,
};
use crate::keys::{KeyCatalog, KeyNeed, KeyProof, Question, prove};
use crate::narrow::narrow;
use crate::node::{UnreadableTree, Value};
use crate::note::Note;
use crate::parse::parse_tree;
use crate::query_reads::{QueryReads, ReadColumns, TableReads};
use crate::refusal::Refusal;
use crate::relation_use::RelationUse;

/// The largest number of relations and functions that one query may reach.
const MAX_OBJECTS: usize = 5_000;

/// The part of a query from which something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// The query itself and its views, whose unused outputs are left out in the end.
    Query,
    /// A function or a policy, of which everything counts.
    Deep,
}

/// An object whose facts are needed.
#[derive(Debug)]
pub(crate) enum Step {
    Relation(RelationUse, Origin),
    Function(u32),
    Operator(u32),
    /// The body of a function, whose own facts are known.
    Body(u32),
    /// What only the proof of keys needs.
    Key(KeyNeed),
}

/// The search for everything that a query reads. Supply the facts that [`Exploration::pending`]
/// names until none is missing, then call [`Exploration::finish`].
#[derive(Debug)]
pub struct Exploration {
    pub(crate) tree: Value,
    pub(crate) steps: Vec<Step>,
    pub(crate) relations: HashMap<u32, RelationFacts>,
    pub(crate) functions: HashMap<u32, FunctionFacts>,
    pub(crate) views: HashMap<u32, Value>,
    pub(crate) seen_views: HashSet<(u32, Origin)>,
    pub(crate) seen_policies: HashSet<u32>,
    pub(crate) seen_functions: HashSet<u32>,
    pub(crate) seen_operators: HashSet<u32>,
    pub(crate) reads: ColumnSets,
    pub(crate) deep: ColumnSets,
    pub(crate) notes: BTreeSet<Note>,
    /// The tables that functions and policies read.
    pub(crate) in_functions: HashSet<u32>,
    /// The number of key parts, if lookups are asked for.
    pub(crate) key_parts: Option<usize>,
    pub(crate) types: HashMap<u32, TypeFacts>,
    pub(crate) equalities: HashMap<u32, EqualityFacts>,
    pub(crate) requested: HashSet<KeyNeed>,
    /// The number of relations that were followed along foreign keys.
    pub(crate) ancestors: usize,
}

impl Exploration {
    /// Starts with a query's text and the text of its tree.
    ///
    /// # Errors
    /// Returns an error if the query writes or locks rows, or if the tree is of an unknown form.
    pub fn start(query: &str, tree: &str) -> Result<Self, Refusal> {
        let tree = parse_tree(tree)?;
        if tree.first_query().is_none() {
            return Err(UnreadableTree::new("it has no query").into());
        }
        let mut exploration = Self {
            tree: Value::Null,
            steps: Vec::new(),
            relations: HashMap::new(),
            functions: HashMap::new(),
            views: HashMap::new(),
            seen_views: HashSet::new(),
            seen_policies: HashSet::new(),
            seen_functions: HashSet::new(),
            seen_operators: HashSet::new(),
            reads: ColumnSets::new(),
            deep: ColumnSets::new(),
            notes: BTreeSet::new(),
            in_functions: HashSet::new(),
            key_parts: None,
            types: HashMap::new(),
            equalities: HashMap::new(),
            requested: HashSet::new(),
            ancestors: 0,
        };
        if builtin::has_clock_literal(query) {
            exploration.notes.insert(Note::ClockLiteral);
        }
        exploration.follow(&tree, Origin::Query)?;
        exploration.tree = tree;
        Ok(exploration)
    }

    /// Asks also for the way from each table to the keys. The first `key_parts` parameters of the query
    /// are arrays of key parts, and its first outputs are these parts; 0 is a stream without a key.
    /// Call it before [`Exploration::pending`].
    pub fn prove_keys(&mut self, key_parts: usize) {
        self.key_parts = Some(key_parts);
        self.request_key_facts();
    }

    /// Returns the facts that are needed next.
    #[must_use]
    pub fn pending(&self) -> PendingFacts {
        let mut pending = PendingFacts::default();
        for step in &self.steps {
            match step {
                Step::Relation(used, _) => pending.relations.push(used.relation),
                Step::Function(oid) => pending.functions.push(*oid),
                Step::Operator(oid) => pending.operators.push(*oid),
                Step::Body(oid) => pending.bodies.push(*oid),
                Step::Key(KeyNeed::Type(oid)) => pending.types.push(*oid),
                Step::Key(KeyNeed::Equality(oid)) => pending.equalities.push(*oid),
                Step::Key(KeyNeed::Ancestor(oid)) => pending.relations.push(*oid),
            }
        }
        for list in [
            &mut pending.relations,
            &mut pending.functions,
            &mut pending.operators,
            &mut pending.bodies,
            &mut pending.equalities,
            &mut pending.types,
        ] {
            list.sort_unstable();
            list.dedup();
        }
        pending
    }

    /// Continues with the facts that were pending.
    ///
    /// # Errors
    /// Returns an error if the query turns out to write or to lock rows, or if a tree is of an
    /// unknown form.
    pub fn supply(&mut self, facts: CatalogFacts) -> Result<(), Refusal> {
        self.relations
            .extend(facts.relations.into_iter().map(|facts| (facts.oid, facts)));
        self.functions
            .extend(facts.functions.into_iter().map(|facts| (facts.oid, facts)));
        self.equalities
            .extend(facts.equalities.into_iter().map(|facts| (facts.oid, facts)));
        self.types
            .extend(facts.types.into_iter().map(|facts| (facts.oid, facts)));
        if self.relations.len() + self.functions.len() > MAX_OBJECTS {
            return Err(UnreadableTree::new("it reaches too many objects").into());
        }
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Relation(used, origin) => self.visit_relation(&used, origin)?,
                Step::Function(oid) => self.visit_function(oid)?,
                Step::Operator(oid) => {
                    let mut operators = facts.operators.iter();
                    if let Some(found) = operators.find(|facts| facts.oid == oid) {
                        self.add_function(found.function);
                    }
                }
                Step::Body(oid) => self.visit_body(oid, facts.bodies.get(&oid))?,
                Step::Key(_) => {}
            }
        }
        self.request_key_facts();
        Ok(())
    }

    /// Returns what the query reads. Outputs of views and sub-selects that it does not use are left
    /// out.
    #[must_use]
    pub fn finish(self) -> QueryReads {
        let mut all = self.reads.clone();
        merge(&mut all, &self.deep);
        let narrowed = self
            .tree
            .first_query()
            .and_then(|query| narrow(query, &self.views))
            .map(|sets| self.complete_narrowed(sets, &all));
        let sets = narrowed.unwrap_or_else(|| all.clone());
        let mut tables: Vec<_> = sets
            .iter()
            .filter_map(|(oid, columns)| self.table_reads(*oid, columns))
            .collect();
        tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let keys = self
            .key_parts
            .and_then(|count| self.key_proof(count, &tables));
        QueryReads {
            tables,
            notes: self.notes,
            keys,
        }
    }

    fn key_proof(&self, key_parts: usize, tables: &[TableReads]) -> Option<KeyProof> {
        let question = Question {
            query: self.tree.first_query()?,
            views: &self.views,
            catalog: KeyCatalog {
                relations: &self.relations,
                functions: &self.functions,
                types: &self.types,
                equalities: &self.equalities,
            },
            key_parts,
            tables,
            in_functions: &self.in_functions,
        };
        Some(prove(&question))
    }

    /// Adds to the narrowed columns what functions and policies read. 18 stores the whole row of a
    /// join's alias as a list of its columns.
    fn complete_narrowed(&self, narrowed: ColumnSets, all: &ColumnSets) -> ColumnSets {
        let mut sets: ColumnSets = narrowed
            .into_iter()
            .filter(|(oid, _)| all.contains_key(oid))
            .map(|(oid, columns)| (oid, self.without_virtual(oid, &columns)))
            .collect();
        merge(&mut sets, &self.deep);
        for (oid, columns) in &mut sets {
            let is_whole = all.get(oid).is_some_and(|full| full.contains(&0));
            let existing = self.relations.get(oid).map_or(0, |r| r.columns.len());
            if is_whole && columns.len() == existing {
                columns.insert(0);
            }
        }
        sets
    }

    fn table_reads(&self, oid: u32, columns: &BTreeSet<i32>) -> Option<TableReads> {
        let facts = self.relations.get(&oid)?;
        let columns = if columns.contains(&0) {
            ReadColumns::WholeRow
        } else {
            let names = columns.iter().map(|number| column_name(facts, *number));
            ReadColumns::Named(names.collect())
        };
        Some(TableReads {
            oid,
            schema: facts.schema.clone(),
            name: facts.name.clone(),
            kind: facts.kind.clone(),
            columns,
        })
    }

    /// Replaces virtual generated columns with the columns of their expressions: a trigger sees
    /// NULL for them.
    pub(crate) fn without_virtual(&self, relation: u32, columns: &BTreeSet<i32>) -> BTreeSet<i32> {
        let known = self.relations.get(&relation).map(|r| &r.virtual_columns);
        let bases = |column: &i32| {
            known
                .and_then(|known| known.get(column))
                .cloned()
                .unwrap_or_else(|| vec![*column])
        };
        columns.iter().flat_map(bases).collect()
    }
}
