//! Random queries over random rows: no lookup that is proven may miss a key whose result changed. The
//! same changes check that no column that was left out decides anything.

use std::collections::BTreeMap;

use fastrand::Rng;
use tokio_postgres::Client;

use latido_inference::{QueryReads, ReadColumns, TableLookups};
use latido_postgres::{Database, QueryReadsError};

use super::lookups::database;
use super::query_generator::{QueryGenerator, RandomQuery};
use super::refutation::{Key, Outcome, PreparedQuery, proven, qualified, rows};
use crate::harness::cluster::OwnCluster;
use crate::harness::replayable_seed;

/// The number of queries in an ordinary run. `LATIDO_QUERIES` is another.
const QUERIES: u64 = 200;

/// The number of queries between two cleanings of the tables and the catalogs. Autovacuum is off, and
/// each query leaves dead rows that all later ones would read.
const QUERIES_PER_VACUUM: u64 = 100;

/// The number of random states in which the lookups of a query are tried.
const STATES: u32 = 4;

const TABLES: [&str; 3] = ["ta", "tb", "tc"];
const COLUMNS: [&str; 4] = ["id", "k", "x", "y"];

const SCHEMA: &str = "CREATE SCHEMA azar; SET search_path = azar;
    CREATE TABLE ta (id int, k int, x int, y bigint); CREATE TABLE tb (LIKE ta); CREATE TABLE tc (LIKE ta);
    SET statement_timeout = '2s'";

/// What a run did.
#[derive(Debug, Default)]
struct Tally {
    queries: u64,
    without_key: u64,
    proven: u64,
    not_proven: u64,
    outcome: Outcome,
    /// Updates of columns that were left out, and what they altered.
    unneeded: u64,
    wrongly_unneeded: Vec<String>,
}

impl Tally {
    fn summary(&self) -> String {
        format!(
            "{} queries, {} without a key, {} proven, {} not, {} changes, {} altered, {} unneeded",
            self.queries,
            self.without_key,
            self.proven,
            self.not_proven,
            self.outcome.tried,
            self.outcome.altered,
            self.unneeded
        )
    }
}

struct Run<'a> {
    client: &'a Client,
    database: &'a Database,
    random: Rng,
    tally: Tally,
}

fn query_count() -> u64 {
    let count = std::env::var("LATIDO_QUERIES").ok();
    count.and_then(|text| text.parse().ok()).unwrap_or(QUERIES)
}

fn all_keys(key_parts: usize) -> Vec<Key> {
    let values = ["0", "1", "2", "3"].map(str::to_owned);
    if key_parts == 1 {
        return values.into_iter().map(|value| vec![value]).collect();
    }
    let pairs = values
        .iter()
        .flat_map(|one| values.iter().map(|other| vec![one.clone(), other.clone()]));
    pairs.collect()
}

impl Run<'_> {
    /// Tries one random query. Many are no valid SQL.
    async fn try_query(&mut self) {
        let query = QueryGenerator::new(&mut self.random).generate();
        let view = format!("DROP VIEW IF EXISTS v1; CREATE VIEW v1 AS {}", query.view);
        if self.client.batch_execute(&view).await.is_err() {
            return;
        }
        let reads = match self
            .database
            .query_lookups(&query.sql, query.key_parts)
            .await
        {
            Ok(reads) => reads,
            Err(QueryReadsError::Refused(_) | QueryReadsError::Database(_)) => return,
            Err(error) => panic!("{}: {error}", query.sql),
        };
        self.tally.queries += 1;
        let proof = reads.keys.clone().unwrap();
        if proof.key.is_err() {
            self.tally.without_key += 1;
            return;
        }
        let lookups = proof.tables.iter().map(|table| !proven(table).is_empty());
        let proven = lookups.filter(|is_proven| *is_proven).count() as u64;
        self.tally.proven += proven;
        self.tally.not_proven += proof.tables.len() as u64 - proven;
        if proven > 0 {
            let keys = all_keys(query.key_parts);
            let prepared = PreparedQuery::new(
                self.client,
                &query.sql,
                &keys,
                query.key_parts,
                &["2026-11-22"],
            )
            .await;
            for _ in 0..STATES {
                self.try_state(&query, &prepared, &reads, &proof.tables)
                    .await;
            }
            let end = format!("DEALLOCATE {}", prepared.name);
            self.client.batch_execute(&end).await.unwrap();
        }
    }

    /// Fills the tables with random rows, and changes rows of each table that has a lookup.
    async fn try_state(
        &mut self,
        query: &RandomQuery,
        prepared: &PreparedQuery<'_>,
        reads: &QueryReads,
        tables: &[TableLookups],
    ) {
        let mut begin =
            "BEGIN; CREATE TEMPORARY TABLE changed (LIKE ta) ON COMMIT DROP;".to_owned();
        for table in TABLES {
            begin += &format!("DELETE FROM {table};");
            for _ in 0..self.random.u8(1..=6) {
                let row = COLUMNS.map(|_| self.value());
                begin += &format!("INSERT INTO {table} VALUES ({});", row.join(", "));
            }
        }
        self.client.batch_execute(&begin).await.unwrap();
        // A query may take too long for these rows.
        if let Ok(before) = prepared.result().await {
            for table in tables.iter().filter(|table| !proven(table).is_empty()) {
                let is_needed = needed(reads, table);
                for (column, change) in self.changes(table).await {
                    let mut outcome = Outcome::default();
                    prepared
                        .try_change(table, &change, &before, &mut outcome)
                        .await;
                    if column.is_some_and(|column| !is_needed(column)) {
                        self.tally.unneeded += 1;
                        if outcome.altered > 0 {
                            self.tally
                                .wrongly_unneeded
                                .push(format!("{change} in {}", query.sql));
                        }
                    }
                    for missed in &mut outcome.missed {
                        *missed += &format!(
                            "\n  {:?}\n  v1: {}\n  {}",
                            proven(table),
                            query.view,
                            query.sql
                        );
                    }
                    self.tally.outcome.add(outcome);
                }
            }
        }
        self.client.batch_execute("ROLLBACK").await.unwrap();
    }

    fn value(&mut self) -> String {
        match self.random.u8(..20) {
            0 => "NULL".to_owned(),
            n => (n % 4).to_string(),
        }
    }

    /// Returns changes of each row, and some of several rows at once, each with the column if it sets
    /// one.
    async fn changes(&mut self, table: &TableLookups) -> Vec<(Option<&'static str>, String)> {
        let name = qualified(table);
        let places = rows(self.client, &format!("SELECT ctid FROM {name}"))
            .await
            .unwrap();
        let mut conditions: Vec<_> = places
            .iter()
            .map(|row| format!("ctid = '{}'", row[0].as_deref().unwrap()))
            .collect();
        let column = *self.random.choice(&COLUMNS).unwrap();
        conditions.push(format!("{column} = {}", self.random.u8(..4)));
        conditions.push("true".to_owned());
        let mut changes = Vec::new();
        for at in conditions {
            let old = format!("INSERT INTO changed SELECT * FROM {name} WHERE {at}");
            if self.random.f64() < 0.3 {
                changes.push((None, format!("{old}; DELETE FROM {name} WHERE {at}")));
                continue;
            }
            let (column, value) = (*self.random.choice(&COLUMNS).unwrap(), self.value());
            // Several columns, so that a row may leave two roles at once.
            let more = if self.random.f64() < 0.3 {
                ", id = 3 - id, k = 3 - k, x = 3 - x"
            } else {
                ""
            };
            let (set, only) = if more.is_empty() || column == "y" {
                (
                    format!("{column} = {value}{more}"),
                    more.is_empty().then_some(column),
                )
            } else {
                (more.trim_start_matches(", ").to_owned(), None)
            };
            changes.push((
                only,
                format!(
                    "{old}; WITH new AS (UPDATE {name} SET {set} WHERE {at} RETURNING *) INSERT INTO changed SELECT * FROM new"
                ),
            ));
        }
        changes
    }
}

/// Returns whether the query needs a column of a table.
fn needed(reads: &QueryReads, table: &TableLookups) -> impl Fn(&str) -> bool {
    let by_oid: BTreeMap<_, _> = reads
        .tables
        .iter()
        .map(|t| (t.oid, t.columns.clone()))
        .collect();
    let columns = by_oid[&table.oid].clone();
    move |column| match &columns {
        ReadColumns::WholeRow => true,
        ReadColumns::Named(names) => names.contains(column),
    }
}

#[tokio::test]
async fn no_lookup_of_a_random_query_misses_a_key() {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    client.batch_execute(SCHEMA).await.unwrap();
    let count = query_count();
    let mut run = Run {
        client: &client,
        database: &database(&cluster.url(), "azar"),
        random: Rng::with_seed(replayable_seed()),
        tally: Tally::default(),
    };
    for done in 0..count {
        if done % QUERIES_PER_VACUUM == 0 {
            client.batch_execute("VACUUM").await.unwrap();
        }
        run.try_query().await;
    }
    let tally = run.tally;
    let missed = &tally.outcome.missed;
    assert!(
        missed.is_empty(),
        "{} missed: {}",
        missed.len(),
        missed[..missed.len().min(5)].join("\n")
    );
    assert!(
        tally.wrongly_unneeded.is_empty(),
        "{:?}",
        tally.wrongly_unneeded
    );
    // A run that tries nothing proves nothing.
    let summary = tally.summary();
    print_summary(&summary);
    assert!(tally.proven * 4 > count, "{summary}");
    assert!(tally.outcome.altered as u64 > count / 2, "{summary}");
}

#[expect(
    clippy::print_stderr,
    reason = "the figures of a long run belong to its log"
)]
fn print_summary(summary: &str) {
    eprintln!("{summary}");
}
