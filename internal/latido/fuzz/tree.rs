//! The reader of PostgreSQL's parse trees. Trees come from the database, but views and functions in
//! it may be anybody's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use latido_postgres::inference::{
    CatalogFacts, EqualityFacts, Exploration, ForeignKeyFacts, FunctionFacts, KeyProof, Lookup,
    LookupAnswer, OperatorFacts, PendingFacts, QueryReads, RelationFacts, TypeFacts,
};

/// The number of rounds after which the facts are refused.
const MAX_ROUNDS: usize = 6;

/// The time-out of one proof, for any tree.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Reads a tree and follows it, and proves the lookups of up to two key parts. Every relation is a
/// view, a table or a protected table of the same tree, and every function has it as its body. The
/// search must end without a panic and in time, and every table that it finds must be one that was
/// asked for.
pub fn tree(bytes: &[u8]) {
    for key_parts in 0..=2 {
        let started = Instant::now();
        examine(bytes, key_parts);
        assert!(started.elapsed() < MAX_TIME, "the search has an end");
    }
}

/// Returns the proof, unless the tree is refused.
fn examine(bytes: &[u8], key_parts: usize) -> Option<KeyProof> {
    let text = String::from_utf8_lossy(bytes);
    let mut exploration = Exploration::start(&text, &text).ok()?;
    exploration.prove_keys(key_parts);
    let mut asked = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let pending = exploration.pending();
        if pending.is_empty() {
            break;
        }
        asked.extend_from_slice(&pending.relations);
        supply(&mut exploration, &pending, &text).ok()?;
    }
    let QueryReads {
        tables,
        notes,
        keys,
    } = exploration.finish();
    assert!(tables.iter().all(|table| asked.contains(&table.oid)));
    assert!(notes.iter().all(|note| !note.to_string().is_empty()));
    let oids: Vec<_> = tables.iter().map(|table| table.oid).collect();
    assert!(keys.is_some(), "it was asked for");
    keys.inspect(|keys| check_proof(keys, key_parts, &oids))
}

/// Checks that every table has an answer, and that each lookup gives every key part.
fn check_proof(proof: &KeyProof, key_parts: usize, tables: &[u32]) {
    let answered: Vec<_> = proof.tables.iter().map(|table| table.oid).collect();
    assert_eq!(answered, tables);
    if let Ok(parts) = &proof.key {
        assert_eq!(parts.len(), key_parts);
    }
    for table in &proof.tables {
        match &table.answer {
            LookupAnswer::EveryKey => assert_eq!(key_parts, 0),
            LookupAnswer::Proven(lookups) => {
                assert!(proof.key.is_ok() && !lookups.is_empty());
                lookups
                    .iter()
                    .for_each(|lookup| check_lookup(lookup, key_parts));
            }
            LookupAnswer::NotProven(reason) => {
                assert!(!reason.reason.to_string().is_empty());
                let lookups = reason.suggestions.iter().flat_map(|s| &s.lookups);
                lookups.for_each(|lookup| check_lookup(lookup, key_parts));
            }
        }
    }
}

fn check_lookup(lookup: &Lookup, key_parts: usize) {
    match lookup {
        Lookup::Columns(columns) => assert_eq!(columns.len(), key_parts),
        Lookup::Select { sql, .. } => {
            assert!(sql.starts_with("SELECT DISTINCT c"), "{sql}");
            let Some((outputs, _)) = sql.split_once(" FROM changed c0") else {
                unreachable!("it reads the changed rows: {sql}");
            };
            assert_eq!(outputs.split(", ").count(), key_parts, "{sql}");
        }
    }
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
            columns: (1..=8).map(|n| (n, format!("c{n}"))).collect(),
            virtual_columns: BTreeMap::from([(5, vec![1])]),
            column_types: (1..=8).map(|n| (n, 23)).collect(),
            nondeterministic_columns: BTreeSet::from([8]),
            foreign_keys: vec![ForeignKeyFacts {
                parent: oid / 2,
                columns: vec![1],
                parent_columns: vec![3],
                cascades: oid.is_multiple_of(5),
            }],
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
        schema: if *oid < 16_384 {
            "pg_catalog"
        } else {
            "public"
        }
        .to_owned(),
        name: "unnest".to_owned(),
        language: "sql".to_owned(),
        body_tree: oid.is_multiple_of(2).then(|| text.to_owned()),
        ..FunctionFacts::default()
    };
    let operator = |oid: &u32| OperatorFacts {
        oid: *oid,
        function: oid / 2,
    };
    let equality = |oid: &u32| EqualityFacts {
        oid: *oid,
        families: vec![1],
        is_immutable: true,
    };
    // Only integers have an equality, bigint too; all else are arrays of them.
    let data_type = |oid: &u32| TypeFacts {
        oid: *oid,
        base: *oid,
        element: if matches!(oid, 20 | 23) { 0 } else { 23 },
        family: matches!(oid, 20 | 23).then_some(1),
        equality_schema: None,
    };
    let facts = CatalogFacts {
        relations: pending.relations.iter().map(relation).collect(),
        functions: pending.functions.iter().map(function).collect(),
        operators: pending.operators.iter().map(operator).collect(),
        bodies: pending
            .bodies
            .iter()
            .map(|oid| (*oid, text.to_owned()))
            .collect(),
        equalities: pending.equalities.iter().map(equality).collect(),
        types: pending.types.iter().map(data_type).collect(),
    };
    exploration.supply(facts).map_err(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trees of 14 have other names for some nodes, and those since 16 have the columns that are read
    /// in a list of their own.
    #[test]
    fn seeds_have_the_forms_of_every_version() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/tree");
        let files = std::fs::read_dir(folder).unwrap();
        let trees = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let trees: String = trees.collect();
        for tag in [
            "RTE ",
            "RANGETBLENTRY ",
            "RTEPERMISSIONINFO ",
            "WINDOWCLAUSE ",
            "WINDOWFUNC ",
            "GROUPINGSET ",
            "TABLEFUNC ",
            "JSONEXPR ",
            "TABLESAMPLECLAUSE ",
            "ROWMARKCLAUSE ",
            "ROWCOMPARE ",
            "ROWCOMPAREEXPR ",
            "ARRAYCOERCEEXPR ",
            "COERCEVIAIO ",
            "RELABELTYPE ",
            "COLLATE ",
            "COLLATEEXPR ",
            "CASE ",
            "CASEEXPR ",
            "SUBSCRIPTINGREF ",
            "DISTINCTEXPR ",
            "BOOLEANTEST ",
            "NULLIFEXPR ",
            "MINMAXEXPR ",
            "MERGEACTION ",
            "SETOPERATIONSTMT ",
            "COMMONTABLEEXPR ",
            "SUBLINK ",
            "SCALARARRAYOPEXPR ",
        ] {
            assert!(trees.contains(&format!("{{{tag}")), "no seed has {tag}");
        }
    }

    /// Without a seed whose key is understood, mutations would try nothing behind it.
    #[test]
    fn seeds_reach_the_search_for_lookups() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/tree");
        for (name, key_parts) in [
            ("keys_any", 1),
            ("keys_lateral", 1),
            ("keys_pair", 2),
            ("v14_outer_joins", 1),
            ("v18_outer_joins", 1),
        ] {
            let seed = std::fs::read(format!("{folder}/{name}")).unwrap();
            let proof = examine(&seed, key_parts).unwrap();
            assert!(proof.key.is_ok(), "{:?}", proof.key);
            assert!(proof.is_complete(), "{:?}", proof.tables);
            assert!(!proof.tables.is_empty());
        }
    }
}
