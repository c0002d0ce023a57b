//! The reader of PostgreSQL's parse trees. Trees come from the database, but views and functions in
//! it may be anybody's.

use std::collections::{BTreeMap, HashMap};

use latido_postgres::inference::{
    Exploration, FunctionFacts, OperatorFacts, PendingFacts, QueryReads, RelationFacts,
};

/// The number of rounds after which the facts are refused.
const MAX_ROUNDS: usize = 4;

/// Reads a tree and follows it. Every relation is a view, a table or a protected table of the same
/// tree, and every function has it as its body. The search must end without a panic, and every
/// table that it finds must be one that was asked for.
pub fn tree(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(mut exploration) = Exploration::start(&text, &text) else {
        return;
    };
    let mut asked = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let pending = exploration.pending();
        if pending.is_empty() {
            break;
        }
        asked.extend_from_slice(&pending.relations);
        if supply(&mut exploration, &pending, &text).is_err() {
            return;
        }
    }
    let QueryReads { tables, notes, .. } = exploration.finish();
    assert!(tables.iter().all(|table| asked.contains(&table.oid)));
    assert!(notes.iter().all(|note| !note.to_string().is_empty()));
}

fn supply(exploration: &mut Exploration, pending: &PendingFacts, text: &str) -> Result<(), ()> {
    let relation = |oid: &u32| {
        let kind = if oid.is_multiple_of(2) { "v" } else { "r" };
        RelationFacts {
            oid: *oid,
            schema: "public".to_owned(),
            name: oid.to_string(),
            kind: kind.to_owned(),
            has_children: true,
            columns: BTreeMap::from([(1, "a".to_owned()), (2, "b".to_owned())]),
            virtual_columns: BTreeMap::from([(2, vec![1])]),
            view_tree: Some(text.to_owned()),
            policy_trees: oid
                .is_multiple_of(3)
                .then(|| text.to_owned())
                .into_iter()
                .collect(),
            ..RelationFacts::default()
        }
    };
    let function = |oid: &u32| FunctionFacts {
        oid: *oid,
        schema: "public".to_owned(),
        language: "sql".to_owned(),
        body_tree: oid.is_multiple_of(2).then(|| text.to_owned()),
        ..FunctionFacts::default()
    };
    let operator = |oid: &u32| OperatorFacts {
        oid: *oid,
        function: oid / 2,
    };
    let bodies: HashMap<_, _> = pending
        .bodies
        .iter()
        .map(|oid| (*oid, text.to_owned()))
        .collect();
    let relations = pending.relations.iter().map(relation).collect();
    let functions = pending.functions.iter().map(function).collect();
    let operators: Vec<_> = pending.operators.iter().map(operator).collect();
    let supplied = exploration.supply(relations, functions, &operators, &bodies);
    supplied.map_err(drop)
}
