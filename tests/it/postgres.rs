//! The database module against a real PostgreSQL: triggers, reads, the listener, poolers and TLS.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers fail by panicking, like tests"
)]

mod claims;
mod column_kinds;
mod column_names;
mod connections;
mod doctor;
mod history;
mod hostile_schema;
mod inference;
mod installing;
mod instances;
mod key_columns;
mod key_spelling;
mod key_types;
mod listening;
mod local_days;
mod lookup_check;
mod migrations;
mod open_transactions;
mod ownership;
pub(crate) mod pooler_proxy;
mod privileges;
mod queue;
mod reading;
mod reads;
mod row_security;
mod schema_changes;
mod tls;
mod triggers;
mod via;

use std::sync::Arc;

use latido_postgres::{Config, Database};
use latido_stream::{Catalog, KeyRoute, SourceTable, Stream, ZoneRule};
use tokio_postgres::Client;

use crate::harness::cluster::{TestDatabase, connect};
use crate::harness::report_not_tested;

/// The part of the real user's schema that the statistics need.
const SCHEMA: &str = "
    CREATE TYPE rol AS ENUM ('cliente', 'negocio', 'admin_sistema');
    CREATE TYPE estado AS ENUM ('pendiente', 'atendida', 'cancelada');
    CREATE TABLE usuarios (id uuid PRIMARY KEY, email text, rol rol NOT NULL);
    CREATE TABLE negocios (id uuid PRIMARY KEY, admin_negocio_id uuid, nombre text, estado bool);
    CREATE TABLE citas (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), negocio_id uuid, fecha date DEFAULT '2026-11-22',
                        estado estado DEFAULT 'pendiente', nota text);";

const A: &str = "00000000-0000-0000-0000-00000000000a";
const B: &str = "00000000-0000-0000-0000-00000000000b";

/// Creates a database with the user's schema. Returns its owner, a client for the test's writes,
/// and the [`Database`] under test.
async fn schema_database() -> (TestDatabase, Client, Database) {
    let (home, client, url) = empty_database().await;
    client.batch_execute(SCHEMA).await.unwrap();
    // Without the gate, writers notify even without a viewer.
    (
        home,
        client,
        Database::open(&Config {
            interest_gate: false,
            ..Config::new(url)
        })
        .unwrap(),
    )
}

/// Creates an empty database. Returns its owner, a client and its URL.
async fn empty_database() -> (TestDatabase, Client, String) {
    let home = TestDatabase::create(&[]).await;
    let (client, url) = (home.client().await, home.url().to_owned());
    (home, client, url)
}

/// Creates an empty database with the extension `citext` and these options. Returns `None`, and says
/// what is not tested, if the server has not both.
async fn citext_database(options: &str) -> Option<(TestDatabase, Client, String)> {
    let Some(home) = TestDatabase::create_with(options).await else {
        report_not_tested(&format!("keys of citext in a database with {options}"));
        return None;
    };
    let client = home.client().await;
    if let Err(error) = client.batch_execute("CREATE EXTENSION citext").await {
        report_not_tested(&format!("keys of citext: {error}"));
        return None;
    }
    let url = home.url().to_owned();
    Some((home, client, url))
}

fn estadisticas() -> Stream {
    Stream {
        name: "estadisticas".to_owned(),
        query: include_str!("../../sql/estadisticas.sql").to_owned(),
        verification: None,
        history_query: None,
        authorize_query: Some(include_str!("../../sql/authorize.sql").into()),
        zone_rule: ZoneRule::Fixed("America/Guayaquil".to_owned()),
        event: "stats".to_owned(),
        key_fields: vec!["negocio_id".to_owned()],
        params: Vec::new(),
        interval: None,
        tables: vec![table(
            "citas",
            Some("negocio_id"),
            &["negocio_id", "fecha", "estado"],
        )],
        key_types: Default::default(),
        inference: Default::default(),
        revision: 0,
    }
}

fn table(table: &str, key: Option<&str>, columns: &[&str]) -> SourceTable {
    SourceTable {
        name: table.to_owned(),
        route: key.map_or(KeyRoute::EveryKey, |key| {
            KeyRoute::Columns(vec![key.to_owned()])
        }),
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Returns a catalog with the built-in stream over these tables.
fn catalog(tables: Vec<SourceTable>) -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Stream {
        tables,
        ..estadisticas()
    }]))
}

fn builtin() -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![estadisticas()]))
}
