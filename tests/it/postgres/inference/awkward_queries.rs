//! The reads and lookups of queries over awkward schemas: composite keys, equal names in two schemas,
//! inheritance, partitions, columns with a collation, and operators of their own.

use std::collections::BTreeMap;

use fastrand::Rng;
use latido_inference::{QueryReads, ReadColumns};

use super::lookups::{database, refute_all};
use super::own_queries::shown;
use crate::harness::cluster::OwnCluster;
use crate::harness::replayable_seed;

const SCHEMA: &str = include_str!("awkward_schema.sql");
const QUERIES: &str = include_str!("awkward_queries.sql");

/// A query with its answer.
#[derive(Default)]
struct Answered {
    name: &'static str,
    key_parts: usize,
    /// The columns and the lookups of each table.
    tables: BTreeMap<&'static str, (&'static str, &'static str)>,
    sql: &'static str,
}

impl Answered {
    fn all() -> Vec<Self> {
        QUERIES.split("--- end").filter_map(Self::parse).collect()
    }

    fn parse(part: &'static str) -> Option<Self> {
        let mut rest = &part[part.find("-- name: ")?..];
        let mut case = Self::default();
        while let Some((head, tail)) = rest.strip_prefix("-- ").and_then(|r| r.split_once('\n')) {
            let (name, value) = head.split_once(": ").unwrap();
            match name {
                "name" => case.name = value,
                "keys" => case.key_parts = value.parse().unwrap(),
                _ => {
                    let (table, answer) = value.split_once('(').unwrap();
                    case.tables.insert(table, answer.split_once("): ").unwrap());
                }
            }
            rest = tail;
        }
        case.sql = rest;
        Some(case)
    }

    fn mistakes(&self, reads: &QueryReads) -> Vec<String> {
        let proof = reads.keys.as_ref().unwrap();
        let found = reads.tables.iter().zip(&proof.tables).map(|(read, table)| {
            let columns = match &read.columns {
                ReadColumns::WholeRow => "*".to_owned(),
                ReadColumns::Named(names) => names.iter().cloned().collect::<Vec<_>>().join(","),
            };
            (
                format!("{}.{}", table.schema, table.name),
                (columns, shown(table)),
            )
        });
        let found: BTreeMap<_, _> = found.collect();
        let mut mistakes = Vec::new();
        for (table, (columns, lookups)) in &self.tables {
            let is_right = found.get(*table).is_some_and(|(read, answer)| {
                (*columns == "?" || columns == read) && lookups == answer
            });
            if !is_right {
                let found = found.get(*table);
                mistakes.push(format!(
                    "{}: {table}: {found:?} instead of {columns} {lookups}",
                    self.name
                ));
            }
        }
        if found.len() != self.tables.len() {
            mistakes.push(format!("{}: other tables: {found:?}", self.name));
        }
        mistakes
    }
}

#[tokio::test]
async fn awkward_queries_have_the_written_answers() {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    let database = database(&cluster.url(), "public");
    let mut random = Rng::with_seed(replayable_seed());
    let (mut mistakes, mut altered) = (Vec::new(), 0);
    let cases = Answered::all();
    for case in &cases {
        let reads = database.query_lookups(case.sql, case.key_parts).await;
        let reads = reads.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        mistakes.extend(case.mistakes(&reads));
        let outcomes = refute_all(&client, case.sql, case.key_parts, &reads, &mut random).await;
        for (table, outcome) in outcomes {
            altered += outcome.altered;
            let missed = outcome.missed.iter();
            mistakes.extend(missed.map(|missed| format!("{}: {table}: {missed}", case.name)));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(
        cases.len() >= 35 && altered > 200,
        "{altered} changes altered a result"
    );
}
