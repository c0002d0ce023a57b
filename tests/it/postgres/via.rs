//! Keys that a query finds (`via`), keys of several parts, and streams without a key: what each kind
//! of statement notifies.

mod ancestors;
mod doctor;
mod foreign_children;
mod installing;
mod key_types;
mod locking;
mod moves;
mod random_writes;
mod rights;
mod schema_changes;
mod shapes;
mod statements;
mod tuples;

use std::collections::BTreeSet;
use std::sync::Arc;

use latido_postgres::{Config, Database};
use latido_stream::{Catalog, KeyRoute, SourceTable, Stream};
use serde_json::Value;
use tokio_postgres::Client;

use super::estadisticas;
use super::triggers::{NotificationTap, set};
use crate::harness::cluster::TestDatabase;

/// Lineas of pedidos of tiendas: the key of a linea is the tienda of its pedido.
const SCHEMA: &str = "
    CREATE TABLE tiendas (id bigint PRIMARY KEY, nombre text);
    CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint REFERENCES tiendas ON DELETE CASCADE ON UPDATE CASCADE,
                          total numeric NOT NULL DEFAULT 0, nota text);
    CREATE TABLE lineas (id bigserial PRIMARY KEY, pedido_id bigint REFERENCES pedidos ON DELETE CASCADE ON UPDATE CASCADE,
                         cantidad int NOT NULL DEFAULT 1, precio numeric NOT NULL DEFAULT 1, nota text);
    INSERT INTO tiendas SELECT i, 't' || i FROM generate_series(1, 20) i;
    INSERT INTO pedidos SELECT i, 1 + (i - 1) % 20 FROM generate_series(1, 200) i;
    INSERT INTO lineas (id, pedido_id) SELECT i, 1 + (i - 1) % 200 FROM generate_series(1, 1000) i;
    ALTER SEQUENCE lineas_id_seq RESTART 100000;";

const LOOKUP: &str = "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id";

fn entry(table: &str, route: KeyRoute, columns: &[&str]) -> SourceTable {
    SourceTable {
        name: table.to_owned(),
        route,
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn by_columns(table: &str, keys: &[&str], columns: &[&str]) -> SourceTable {
    let keys = keys.iter().map(|name| (*name).to_owned()).collect();
    entry(table, KeyRoute::Columns(keys), columns)
}

fn via(table: &str, sql: &str, columns: &[&str]) -> SourceTable {
    entry(table, KeyRoute::Lookup(sql.to_owned()), columns)
}

fn pedidos() -> SourceTable {
    by_columns("pedidos", &["tienda_id"], &["id", "tienda_id", "total"])
}

fn lineas() -> SourceTable {
    via("lineas", LOOKUP, &["pedido_id", "cantidad", "precio"])
}

/// Returns a catalog with one stream `ventas`.
fn stream(keys: &[&str], tables: Vec<SourceTable>) -> Arc<Catalog> {
    Arc::new(Catalog::new(vec![Stream {
        name: "ventas".to_owned(),
        key_fields: keys.iter().map(|name| (*name).to_owned()).collect(),
        authorize_query: None,
        tables,
        ..estadisticas()
    }]))
}

fn ventas() -> Arc<Catalog> {
    stream(&["tienda_id"], vec![pedidos(), lineas()])
}

/// A database with triggers, and connections that write, listen and watch keys.
struct Scene {
    home: TestDatabase,
    database: Database,
    tap: NotificationTap,
    /// Another writer, with a session of its own.
    other: Client,
    watcher: Client,
}

impl Scene {
    /// Creates a database with that schema, without triggers.
    async fn bare(schema: &str) -> Self {
        let home = TestDatabase::create(&[]).await;
        let client = home.client().await;
        client.batch_execute(schema).await.unwrap();
        Self {
            database: open(home.url(), true),
            tap: NotificationTap::open(home.client().await, &home).await,
            other: client,
            watcher: home.client().await,
            home,
        }
    }

    /// Creates a database with that schema and the triggers of a catalog. No key is watched yet.
    async fn new(schema: &str, catalog: &Catalog) -> Self {
        let scene = Self::bare(schema).await;
        scene.install(catalog).await;
        scene
    }

    /// The common example, with all tiendas watched.
    async fn ventas() -> Self {
        let scene = Self::new(SCHEMA, &ventas()).await;
        scene.watch_tiendas(1..=20).await;
        scene
    }

    async fn install(&self, catalog: &Catalog) {
        self.database.install(catalog).await.unwrap();
        let report = self.database.triggers(catalog).await.unwrap();
        assert!(report.are_current(), "{report:?}");
    }

    async fn watch_tiendas(&self, keys: std::ops::RangeInclusive<u32>) {
        let keys: Vec<_> = keys.map(|key| key.to_string()).collect();
        let keys: Vec<_> = keys.iter().map(|key| vec![key.as_str()]).collect();
        watch(&self.watcher, &keys).await;
    }

    async fn watch(&self, keys: &[&[&str]]) {
        let keys: Vec<_> = keys.iter().map(|key| key.to_vec()).collect();
        watch(&self.watcher, &keys).await;
    }

    async fn watch_nothing(&self) {
        let sql = "SELECT pg_advisory_unlock_all()";
        self.watcher.batch_execute(sql).await.unwrap();
    }

    /// Runs SQL and returns what was told.
    async fn told(&mut self, sql: &str) -> BTreeSet<String> {
        let payloads = self.tap.payloads_of(&self.other, sql).await;
        told(&payloads)
    }

    /// Checks what each statement tells.
    async fn check(&mut self, cases: &[(&str, &[&str])]) {
        for (sql, expected) in cases {
            assert_eq!(self.told(sql).await, set(expected), "{sql}");
        }
    }

    /// Returns the tables with triggers that read the rows of a statement.
    async fn tables_with_triggers(&self) -> String {
        let sql = "SELECT coalesce(string_agg(DISTINCT tgrelid::regclass::text, ' '), '') FROM pg_trigger
                    WHERE tgname LIKE 'latido%' AND (tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)";
        self.other.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Waits for what other sessions have told so far.
    async fn told_so_far(&mut self) -> BTreeSet<String> {
        told(&self.tap.payloads("SELECT").await)
    }
}

fn open(url: &str, gate: bool) -> Database {
    Database::open(&Config {
        interest_gate: gate,
        ..Config::new(url)
    })
    .unwrap()
}

/// Takes the locks of these keys of `ventas`, each given by its parts, and those of the stream, as a
/// server does.
async fn watch(client: &Client, keys: &[Vec<&str>]) {
    let gate = "SELECT pg_advisory_lock_shared(1818326127, 2048 + 64 * (hashtextextended('ventas' COLLATE \"C\", 0) & 15)::int + slot)
                  FROM generate_series(0, 63) AS slot";
    client.batch_execute(gate).await.unwrap();
    for parts in keys {
        let mut hash = format!(
            "hashtextextended(('ventas:' || $part${}$part$) COLLATE \"C\", 0)",
            parts.first().unwrap_or(&"")
        );
        for part in parts.iter().skip(1) {
            hash = format!("hashtextextended($part${part}$part$ COLLATE \"C\", {hash})");
        }
        let sql = format!(
            "SELECT pg_advisory_lock_shared(1818326127, (h & 1023)::int), pg_advisory_lock_shared(1818326127, ((h >> 32) & 1023)::int + 1024)
               FROM {hash} AS h"
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

/// Returns the keys in payloads: the parts with `/` between them, `*` for every key, `!` before a move,
/// and the SQLSTATE in brackets after a failure.
fn told(payloads: &[String]) -> BTreeSet<String> {
    payloads
        .iter()
        .flat_map(|payload| told_by(payload))
        .collect()
}

fn told_by(payload: &str) -> Vec<String> {
    let items: Vec<Value> = serde_json::from_str(payload).unwrap();
    let text = |value: &Value| match value {
        Value::String(key) => key.clone(),
        Value::Array(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| part.as_str().unwrap()).collect();
            format!("[{}]", parts.join("/"))
        }
        _ => "*".to_owned(),
    };
    let prefix = match items[0].as_str().unwrap() {
        "ventas" => "",
        "ventas!" => "!",
        other => panic!("{other}"),
    };
    if let [_, Value::Null, _, Value::String(sqlstate)] = items.as_slice() {
        return vec![format!("{prefix}*({sqlstate})")];
    }
    assert!(payload.len() < 8000 && items.len() > 1, "{payload}");
    items[1..]
        .iter()
        .map(|item| format!("{prefix}{}", text(item)))
        .collect()
}
