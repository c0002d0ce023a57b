//! What a query reads, for 92 queries with answers that were written by hand.

mod awkward_queries;
mod lookups;
mod own_cases;
mod own_queries;
mod query_generator;
mod random_queries;
mod refutation;

use std::collections::{BTreeMap, BTreeSet};

use latido_inference::{QueryReads, ReadColumns, Refusal};
use latido_postgres::{Config, Database, QueryReadsError};

use crate::harness::cluster::OwnCluster;

const SCHEMAS: &str = include_str!("inference/schemas.sql");
const QUERIES: &str = include_str!("inference/queries.sql");

/// The queries whose answer needs the body of a function that is only text. Without the right to
/// create anything it stays hidden.
const TEXT_BODIES: [&str; 6] = [
    "edge_function_string",
    "edge_function_srf",
    "edge_function_table",
    "edge_operator",
    "edge_refuse_function_writes",
    "edge_function_polymorphic",
];

/// The columns of each table; `*` is the whole row.
type Reads = BTreeMap<String, BTreeSet<String>>;

/// One query with its answer.
struct Case {
    header: BTreeMap<&'static str, &'static str>,
    sql: &'static str,
}

impl Case {
    fn all() -> Vec<Self> {
        QUERIES.split("--- end").filter_map(Self::parse).collect()
    }

    fn parse(part: &'static str) -> Option<Self> {
        let mut rest = &part[part.find("-- name: ")?..];
        let mut header = BTreeMap::new();
        while let Some((name, tail)) = rest.strip_prefix("-- ").and_then(|r| r.split_once(':')) {
            let (value, tail) = tail.split_once('\n')?;
            header.insert(name, value.trim());
            rest = tail;
        }
        Some(Self { header, sql: rest })
    }

    fn get(&self, name: &str) -> &'static str {
        self.header.get(name).copied().unwrap_or_default()
    }

    /// Compares a result with the answer; returns what is wrong.
    fn mistake(&self, result: Result<QueryReads, QueryReadsError>) -> Option<String> {
        let name = self.get("name");
        match (result, self.get("refuse")) {
            (Err(QueryReadsError::Refused(refusal)), expected) if !expected.is_empty() => {
                (refusal.label() != expected)
                    .then(|| format!("{name}: {refusal:?} instead of {expected}"))
            }
            (Err(error), _) => Some(format!("{name}: {error:?}")),
            (Ok(reads), "") => {
                let (found, notes) = (found_reads(&reads), labels(&reads));
                let expected = expected_reads(self.get("reads"));
                let says: BTreeSet<_> = self
                    .get("says")
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect();
                (found != expected || notes != says).then(|| {
                    format!("{name}: {found:?} {notes:?} instead of {expected:?} {says:?}")
                })
            }
            (Ok(_), expected) => Some(format!("{name}: not refused as {expected}")),
        }
    }
}

fn found_reads(reads: &QueryReads) -> Reads {
    let columns = |columns: &ReadColumns| match columns {
        ReadColumns::WholeRow => BTreeSet::from(["*".to_owned()]),
        ReadColumns::Named(names) => names.clone(),
    };
    let tables = reads.tables.iter();
    tables
        .map(|table| (table.name.clone(), columns(&table.columns)))
        .collect()
}

fn labels(reads: &QueryReads) -> BTreeSet<String> {
    reads
        .notes
        .iter()
        .map(latido_inference::Note::label)
        .collect()
}

/// Parses `orders(id,total) "Ñ"(*)`.
fn expected_reads(text: &str) -> Reads {
    let mut reads = Reads::new();
    let mut table: Option<String> = None;
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                while let Some(c) = chars.next() {
                    if c != '"' {
                        word.push(c);
                    } else if chars.next_if_eq(&'"').is_some() {
                        word.push('"');
                    } else {
                        break;
                    }
                }
            }
            '(' => {
                reads.entry(word.clone()).or_default();
                table = Some(std::mem::take(&mut word));
            }
            ',' | ')' | ' ' => {
                let column = std::mem::take(&mut word);
                if let (Some(table), false) = (&table, column.is_empty()) {
                    reads.entry(table.clone()).or_default().insert(column);
                }
                if c == ')' {
                    table = None;
                }
            }
            c => word.push(c),
        }
    }
    reads
}

/// Starts a server with all schemas. Returns it with its major version.
async fn start() -> (OwnCluster, u32) {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int / 10000",
            &[],
        )
        .await
        .unwrap();
    let major = u32::try_from(row.get::<_, i32>(0)).unwrap();
    for (n, part) in SCHEMAS.split("-- from: ").enumerate() {
        // The first part has no version.
        let (from, sql) = if n == 0 {
            ("0", part)
        } else {
            part.split_at(2)
        };
        if from.parse::<u32>().unwrap() <= major {
            client.batch_execute(sql).await.unwrap();
        }
    }
    (cluster, major)
}

fn reader(cluster: &OwnCluster, path: &str) -> Database {
    let url = cluster.url().replace("postgres@", "latido_reader@");
    let separator = if url.contains('?') { '&' } else { '?' };
    Database::open(&Config::new(format!("{url}{separator}search_path={path}"))).unwrap()
}

/// Runs all cases but these, and fails with all that are wrong.
async fn check_all(cluster: &OwnCluster, major: u32, except: &[&str]) {
    let mut mistakes = Vec::new();
    let mut checked = 0;
    for case in Case::all() {
        let first: u32 = case.get("min").parse().unwrap_or_default();
        if first > major || except.contains(&case.get("name")) {
            continue;
        }
        let result = reader(cluster, case.get("path"))
            .query_reads(case.sql)
            .await;
        mistakes.extend(case.mistake(result));
        checked += 1;
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(checked >= 80, "{checked} queries");
}

#[tokio::test]
async fn reads_of_every_query_are_exact() {
    let (cluster, major) = start().await;
    check_all(&cluster, major, &[]).await;
}

#[tokio::test]
async fn reads_are_exact_where_nothing_can_be_created() {
    let (cluster, major) = start().await;
    let client = cluster.client().await;
    client
        .batch_execute("REVOKE TEMP ON DATABASE latido FROM PUBLIC")
        .await
        .unwrap();
    check_all(&cluster, major, &TEXT_BODIES).await;
    let hidden = reader(&cluster, "edge")
        .query_reads("SELECT k, f_string(k) FROM t")
        .await
        .unwrap();
    assert_eq!(hidden.hidden_functions().collect::<Vec<_>>(), ["f_string"]);
}

#[tokio::test]
async fn nothing_remains_of_an_examination() {
    let (cluster, _) = start().await;
    let client = cluster.client().await;
    let database = reader(&cluster, "edge");
    database
        .query_reads("SELECT k, f_string(k) FROM t -- the end")
        .await
        .unwrap();
    let left = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'latido\\_%'";
    let row = client.query_one(left, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    // A body that ends the function and goes on is not executed.
    let evil = "SET check_function_bodies = off; GRANT CREATE ON SCHEMA edge TO latido_reader;
        CREATE FUNCTION edge.f_evil() RETURNS int LANGUAGE sql AS 'SELECT 1; END; CREATE TABLE edge.stolen(); COMMIT; BEGIN; SELECT 1'";
    client.batch_execute(evil).await.unwrap();
    let hidden = database.query_reads("SELECT f_evil() AS k").await.unwrap();
    assert_eq!(hidden.hidden_functions().collect::<Vec<_>>(), ["f_evil"]);
    let refused = database
        .query_reads("SELECT 1 AS k; END; CREATE TABLE edge.stolen(); BEGIN")
        .await;
    assert_eq!(
        refused,
        Err(QueryReadsError::Refused(Refusal::SeveralStatements))
    );
    let row = client
        .query_one("SELECT to_regclass('edge.stolen') IS NULL", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
}
