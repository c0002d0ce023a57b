//! The lookups of further queries: names that need quotes, partitions, several paths of foreign keys,
//! functions, and clauses at which a proof must stop.

use std::collections::BTreeMap;

use fastrand::Rng;

use latido_inference::{KeyProof, Lookup, LookupAnswer, TableLookups};

use super::lookups::{database, refute_all};
use super::own_cases::{BOUNDARIES, FORMS, LINKS, OwnCase, TYPES};
use super::{reader, start};
use crate::harness::cluster::OwnCluster;
use crate::harness::{replayable_seed, report_not_tested};

pub(super) fn shown(table: &TableLookups) -> String {
    match &table.answer {
        LookupAnswer::EveryKey => "*".to_owned(),
        LookupAnswer::Proven(lookups) => {
            let shown: Vec<_> = lookups.iter().map(Lookup::to_string).collect();
            shown.join(" + ")
        }
        LookupAnswer::NotProven(lack) => format!("? {:?}", lack.reason),
    }
}

async fn start_own() -> OwnCluster {
    let (cluster, _) = start().await;
    let client = cluster.client().await;
    client
        .batch_execute(include_str!("own_schema.sql"))
        .await
        .unwrap();
    cluster
}

async fn proof_of(cluster: &OwnCluster, sql: &str, key_parts: usize) -> KeyProof {
    let database = database(&cluster.url(), "propio,public");
    database
        .query_lookups(sql, key_parts)
        .await
        .unwrap()
        .keys
        .unwrap()
}

/// Compares the answers of queries with the expected ones, and tries to refute the lookups.
async fn check(cluster: &OwnCluster, cases: &[&[OwnCase]]) {
    let client = cluster.client().await;
    let path = "SET search_path = propio, public";
    client.batch_execute(path).await.unwrap();
    let database = database(&cluster.url(), "propio,public");
    let mut random = Rng::with_seed(replayable_seed());
    let mut mistakes = Vec::new();
    for case in cases.iter().copied().flatten() {
        let sql = case.sql;
        let reads = database.query_lookups(sql, case.key_parts).await;
        let reads = reads.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let proof = reads.keys.as_ref().unwrap();
        let tables = proof.tables.iter();
        let found: BTreeMap<_, _> = tables.map(|t| (t.name.as_str(), shown(t))).collect();
        for (table, expected) in case.answers {
            let found = found.get(table).map(String::as_str);
            if found != Some(*expected) {
                mistakes.push(format!("{table}: {found:?} instead of {expected}: {sql}"));
            }
        }
        let outcomes = refute_all(&client, sql, case.key_parts, &reads, &mut random).await;
        for (table, outcome) in outcomes {
            let missed = outcome.missed.iter();
            mistakes.extend(missed.map(|missed| format!("{table}: {missed}: {sql}")));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[tokio::test]
async fn lookups_of_further_queries_are_proven_or_not() {
    let cluster = start_own().await;
    check(&cluster, &[FORMS, LINKS, BOUNDARIES]).await;
}

#[tokio::test]
async fn lookups_over_citext_compare_as_the_query_does() {
    let cluster = start_own().await;
    let client = cluster.client().await;
    if let Err(error) = client
        .batch_execute("CREATE EXTENSION citext SCHEMA public")
        .await
    {
        report_not_tested(&format!("lookups over citext: {error}"));
        return;
    }
    let tables = include_str!("own_citext.sql");
    client.batch_execute(tables).await.unwrap();
    check(&cluster, &[TYPES]).await;
    let proof = proof_of(&cluster, TYPES[1].sql, 1).await;
    assert_eq!(
        only_statement(&proof, "accesos"),
        "SELECT DISTINCT c1.nombre FROM changed c0 JOIN propio.usuarios c1 ON c1.correo OPERATOR(public.=) c0.de"
    );
}

#[tokio::test]
async fn queries_that_mix_keys_are_named() {
    let cluster = start_own().await;
    for (sql, key_parts, expected) in [
        ("SELECT tienda_id, total FROM pedidos WHERE tienda_id = ANY($1::bigint[]) AND $2::date[] IS NOT NULL LIMIT 3", 1, "LIMIT or OFFSET"),
        ("SELECT k, count(*) OVER () FROM unnest($1::bigint[], $2::date[]) u (k, hoy)", 1, "a window"),
        ("SELECT DISTINCT ON (hoy) k, hoy FROM unnest($1::bigint[], $2::date[]) u (k, hoy)", 1, "DISTINCT ON"),
        ("SELECT max(k) AS k, count(*) FROM unnest($1::bigint[], $2::date[]) u (k, hoy)", 1, "an aggregate"),
        ("SELECT k, (SELECT count(*) FROM unnest($1)) FROM unnest($1::bigint[], $2::date[]) u (k, hoy)", 1, "uses $1 several times"),
        ("WITH t AS (SELECT tienda_id, total FROM pedidos WHERE tienda_id = ANY($1::bigint[])) SELECT t.tienda_id, t.total * 1.0 / (SELECT sum(total) FROM t)
          FROM t WHERE $2::date[] IS NOT NULL", 1, "uses $1 several times"),
        ("WITH ks AS (SELECT * FROM unnest($1::bigint[], $2::date[]) u (k, hoy)) SELECT k, (SELECT count(*) FROM ks) FROM ks", 1, "uses $1 several times"),
        ("SELECT n, k FROM unnest($1::bigint[], $2::date[]) WITH ORDINALITY u (k, hoy, n)", 1, "output 1 (n) is not known to equal $1"),
        ("SELECT k + 0 AS \"K x\" FROM unnest($1::bigint[], $2::date[]) u (k, hoy)", 1, "output 1 (K x) is not known to equal $1"),
        ("SELECT 1 AS k WHERE $2::date[] IS NOT NULL AND $3::int[] IS NOT NULL AND $1::date[] IS NOT NULL", 2, "returns 1 columns"),
        ("SELECT k FROM unnest($2::date[]) u (k) WHERE $1::int IS NULL", 1, "is not understood"),
    ] {
        let key = proof_of(&cluster, sql, key_parts).await.key;
        let problem = key.expect_err(sql);
        assert!(problem.to_string().contains(expected), "{sql}: {problem}");
        let is_mixed = expected.starts_with("uses") || expected.contains("LIMIT") || expected.contains("a window")
            || expected.contains("ON") && expected.starts_with("DISTINCT") || expected.contains("aggregate");
        assert_eq!(problem.mixes_keys(), is_mixed, "{sql}");
    }
}

/// Returns the statement of a table that has one.
fn only_statement(proof: &KeyProof, table: &str) -> String {
    let table = proof.tables.iter().find(|t| t.name == table).unwrap();
    match &table.answer {
        LookupAnswer::Proven(lookups) => match &lookups[..] {
            [Lookup::Select { sql, .. }] => sql.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn statements_are_complete_and_quoted() {
    let cluster = start_own().await;
    let quoted = proof_of(&cluster, FORMS[0].sql, 1).await;
    assert_eq!(
        only_statement(&quoted, "Venta"),
        r#"SELECT DISTINCT c1."Región" FROM changed c0 JOIN propio."Caja ""ñ""" c1 ON c1."Id" = c0."caja Id""#
    );
    let cast = proof_of(&cluster, "SELECT u.k, count(t.id) FROM unnest($1::date[], $2::date[]) u (k, hoy) LEFT JOIN tiendas t ON t.abierta_en = u.k GROUP BY 1", 1).await;
    assert_eq!(
        only_statement(&cast, "tiendas"),
        "SELECT DISTINCT c0.abierta_en::date FROM changed c0"
    );
    let keyless = proof_of(
        &cluster,
        "SELECT d, (SELECT count(*) FROM pedidos) FROM unnest($1::date[]) d",
        0,
    )
    .await;
    assert!(keyless.is_complete());
    assert_eq!(keyless.key, Ok(Vec::new()));
    assert_eq!(keyless.tables[0].answer, LookupAnswer::EveryKey);
}

#[tokio::test]
async fn candidates_are_shown_and_policies_are_asked_for() {
    let cluster = start_own().await;
    let ranked = "SELECT r.region_id, r.n FROM unnest($1::int[], $2::date[]) u (k, hoy) JOIN (
        SELECT b.region_id, rank() OVER (ORDER BY sum(e.peso)) AS n FROM envios e JOIN bodegas b ON b.id = e.destino_id GROUP BY 1) r ON r.region_id = u.k";
    let proof = proof_of(&cluster, ranked, 1).await;
    assert!(!proof.is_complete());
    let mut suggestions = BTreeMap::new();
    for (table, lack) in proof.not_proven() {
        let shown: Vec<_> = lack
            .suggestions
            .iter()
            .map(|s| s.lookups[0].to_string())
            .collect();
        suggestions.insert(table.name.as_str(), shown);
    }
    assert_eq!(suggestions["bodegas"], ["region_id"]);
    assert_eq!(
        suggestions["envios"],
        [
            "origen_id > bodegas.region_id",
            "destino_id > bodegas.region_id"
        ]
    );
    let guarded = "SELECT tenant_id, sum(x) FROM guarded WHERE tenant_id = ANY($1::int[]) AND $2::date[] IS NOT NULL GROUP BY 1";
    let reads = reader(&cluster, "edge")
        .query_lookups(guarded, 1)
        .await
        .unwrap();
    let proof = reads.keys.unwrap();
    let shown: BTreeMap<_, _> = proof
        .tables
        .iter()
        .map(|t| (t.name.as_str(), shown(t)))
        .collect();
    assert_eq!(shown["guarded"], "tenant_id");
    assert_eq!(shown["tenants"], "? InFunction");
}
