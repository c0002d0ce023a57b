//! The lookups of the 32 queries whose 80 table uses have an answer that was written by hand.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tokio_postgres::Client;

use latido_inference::{KeyProof, Lookup, LookupAnswer, QueryReads, ReadColumns, TableLookups};
use latido_postgres::{Config, Database};

use super::refutation::{Key, Outcome, PreparedQuery, proven, qualified, rows, statement};
use super::{Case, start};
use crate::harness::replayable_seed;

const ROWS: &str = include_str!("rows.sql");

/// The number of rows of each table that are changed in turn.
const CHANGED_ROWS: usize = 6;

/// The largest number of keys that are read together.
const MAX_KEYS: usize = 60;

/// Opens a database as its owner, with a search path.
pub(super) fn database(url: &str, path: &str) -> Database {
    let separator = if url.contains('?') { '&' } else { '?' };
    Database::open(&Config::new(format!("{url}{separator}search_path={path}"))).unwrap()
}

/// Returns an answer in the form of `queries.sql`.
fn short(table: &TableLookups) -> BTreeSet<String> {
    match &table.answer {
        LookupAnswer::Proven(lookups) => {
            let short = |lookup: &Lookup| lookup.to_string().replace(' ', "");
            lookups.iter().map(short).collect()
        }
        LookupAnswer::NotProven(_) | LookupAnswer::EveryKey => BTreeSet::from(["?".to_owned()]),
    }
}

/// Returns the number of parameters.
pub(super) fn parameters(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    });
    numbers.max().unwrap_or_default()
}

/// Returns the columns of a table that a query reads.
pub(super) fn columns_of(reads: &QueryReads, oid: u32) -> Vec<String> {
    let table = reads.tables.iter().find(|table| table.oid == oid);
    match table.map(|table| &table.columns) {
        Some(ReadColumns::Named(names)) => names.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Returns keys that the lookups of all rows give.
async fn keys_of(client: &Client, proof: &KeyProof) -> Vec<Key> {
    let mut keys = BTreeSet::new();
    for table in &proof.tables {
        for lookup in proven(table) {
            let sql = statement(lookup);
            let sql = format!("WITH changed AS (SELECT * FROM {}) {sql}", qualified(table));
            let found = rows(client, &sql).await.unwrap();
            keys.extend(
                found
                    .into_iter()
                    .filter_map(|row| row.into_iter().collect::<Option<Key>>()),
            );
        }
    }
    keys.into_iter().take(MAX_KEYS).collect()
}

/// Tries to refute every lookup of a query. Every parameter after the keys is a day of November 2026.
pub(super) async fn refute_all(
    client: &Client,
    sql: &str,
    key_parts: usize,
    reads: &QueryReads,
    random: &mut Rng,
) -> BTreeMap<String, Outcome> {
    let proof = reads.keys.as_ref().unwrap();
    let keys = keys_of(client, proof).await;
    let days = vec!["2026-11-22"; parameters(sql) - key_parts];
    let query = PreparedQuery::new(client, sql, &keys, key_parts, &days).await;
    let mut outcomes = BTreeMap::new();
    for table in proof
        .tables
        .iter()
        .filter(|table| !proven(table).is_empty())
    {
        let columns = columns_of(reads, table.oid);
        let outcome = query.refute(table, &columns, CHANGED_ROWS, random).await;
        outcomes.insert(table.name.clone(), outcome);
    }
    outcomes
}

#[tokio::test]
async fn lookups_of_every_query_are_proven_as_by_hand() {
    let (cluster, major) = start().await;
    let client = cluster.client().await;
    client.batch_execute(ROWS).await.unwrap();
    let mut random = Rng::with_seed(replayable_seed());
    let (mut uses, mut mistakes, mut altered) = (0, Vec::new(), 0);
    for case in Case::all() {
        if case.get("proof").is_empty() || case.get("min").parse().unwrap_or(0) > major {
            continue;
        }
        let (name, path) = (case.get("name"), case.get("path"));
        let key_parts = parameters(case.sql) - 1;
        let reads = database(&cluster.url(), path)
            .query_lookups(case.sql, key_parts)
            .await
            .unwrap();
        let proof = reads.keys.as_ref().unwrap();
        let answers: BTreeMap<_, _> = proof.tables.iter().map(|t| (t.name.as_str(), t)).collect();
        for expected in case.get("proof").split(' ') {
            uses += 1;
            let (table, expected) = expected.split_once('=').unwrap();
            let expected: BTreeSet<_> = expected.split('+').map(str::to_owned).collect();
            let found = answers[table];
            if short(found) != expected {
                mistakes.push(format!(
                    "{name}: {table}: {expected:?}, but {found:?}; {:?}",
                    proof.key
                ));
            }
        }
        client
            .batch_execute(&format!("SET search_path = {path}"))
            .await
            .unwrap();
        for (table, outcome) in refute_all(&client, case.sql, key_parts, &reads, &mut random).await
        {
            altered += outcome.altered;
            mistakes.extend(
                outcome
                    .missed
                    .iter()
                    .map(|missed| format!("{name}: {table}: {missed}")),
            );
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert_eq!(uses, 80);
    assert!(altered > 500, "{altered}");
}
