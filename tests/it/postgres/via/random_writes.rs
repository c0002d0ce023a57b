//! Thousands of random writes to `lineas`, `pedidos` and `tiendas`: whatever changes a watched number
//! is told, and nothing else is. For keys of one part, of two, and of none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use tokio_postgres::Client;

use latido_stream::Catalog;

use super::{Scene, by_columns, stream, ventas, via};

const SCHEMA: &str = "
    CREATE TABLE tiendas (id bigint PRIMARY KEY, nombre text);
    CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint REFERENCES tiendas ON DELETE SET NULL ON UPDATE CASCADE,
                          total numeric NOT NULL DEFAULT 0, zona text DEFAULT 'A');
    CREATE TABLE lineas (id bigserial PRIMARY KEY, pedido_id bigint REFERENCES pedidos ON DELETE CASCADE ON UPDATE CASCADE,
                         cantidad int NOT NULL DEFAULT 1, precio numeric NOT NULL DEFAULT 1, nota text);
    INSERT INTO tiendas SELECT i FROM generate_series(1, 8) i;
    INSERT INTO pedidos SELECT i, 1 + i % 8 FROM generate_series(1, 30) i;
    INSERT INTO lineas (pedido_id) SELECT 1 + i % 30 FROM generate_series(1, 100) i;
    CREATE INDEX ON lineas (pedido_id)";

/// A stream over the tables.
struct Kind {
    catalog: Arc<Catalog>,
    /// The rows of `keys`: the parts of each key.
    keys: Vec<Vec<String>>,
    /// A condition that a pedido `p` belongs to the key `k`, whose parts are `$1`, an array.
    belongs: &'static str,
}

impl Kind {
    fn of_one_part() -> Self {
        Self {
            catalog: ventas(),
            keys: (1..=12)
                .map(|tienda: u32| vec![tienda.to_string()])
                .collect(),
            belongs: "p.tienda_id::text = k[1]",
        }
    }

    fn of_two_parts() -> Self {
        let columns = ["tienda_id", "zona"];
        let lookup =
            "SELECT p.tienda_id, p.zona FROM changed c JOIN pedidos p ON p.id = c.pedido_id";
        let tables = vec![
            by_columns("pedidos", &columns, &["id", "total"]),
            via("lineas", lookup, &["pedido_id", "cantidad", "precio"]),
        ];
        let keys = (1..=12).flat_map(|tienda: u32| {
            ["A", "B"].map(|zona| vec![tienda.to_string(), zona.to_owned()])
        });
        Self {
            catalog: stream(&columns, tables),
            keys: keys.collect(),
            belongs: "p.tienda_id::text = k[1] AND p.zona = k[2]",
        }
    }

    fn of_no_part() -> Self {
        let tables = vec![
            by_columns("pedidos", &[], &["id", "tienda_id", "total"]),
            by_columns("lineas", &[], &["pedido_id", "cantidad", "precio"]),
        ];
        Self {
            catalog: stream(&[], tables),
            keys: vec![Vec::new()],
            belongs: "true",
        }
    }

    /// Returns the key as a notification is shown.
    fn shown(key: &[String]) -> String {
        match key {
            [part] => part.clone(),
            parts => format!("[{}]", parts.join("/")),
        }
    }

    /// Returns the numbers of each key.
    async fn numbers(&self, client: &Client) -> BTreeMap<String, String> {
        let keys: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                format!(
                    "(ARRAY[{}]::text[])",
                    key.iter()
                        .map(|part| format!("'{part}'"))
                        .collect::<Vec<_>>()
                        .join(", ")
                )
            })
            .collect();
        let sql = format!(
            "SELECT k, concat_ws(' ', count(DISTINCT p.id), (SELECT sum(p.total) FROM pedidos p WHERE {0}), count(l.*), sum(l.cantidad * l.precio))
               FROM (VALUES {1}) AS keys (k) LEFT JOIN pedidos p ON {0} LEFT JOIN lineas l ON l.pedido_id = p.id GROUP BY k",
            self.belongs,
            keys.join(", ")
        );
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter()
            .map(|row| (Self::shown(&row.get::<_, Vec<String>>(0)), row.get(1)))
            .collect()
    }
}

/// Random numbers for a statement. Pedidos have numbers up to 40, tiendas up to 12.
struct Numbers {
    linea: String,
    pedido: u32,
    other: u32,
    tienda: u32,
    elsewhere: u32,
    n: u32,
}

impl Numbers {
    fn new(random: &mut Rng) -> Self {
        Self {
            linea: format!("id % {} = {}", random.u32(3..60), random.u32(0..3)),
            pedido: random.u32(1..40),
            other: random.u32(1..40),
            tienda: random.u32(1..=8),
            elsewhere: random.u32(1..=8),
            n: random.u32(1..5),
        }
    }
}

/// Returns SQL for the number of a pedido that exists.
fn existing(id: u32) -> String {
    format!("(SELECT max(id) FROM pedidos WHERE id <= {id})")
}

/// Returns a random statement.
fn statement(random: &mut Rng) -> String {
    let numbers = Numbers::new(random);
    let which = random.u32(0..9);
    match random.u32(0..3) {
        0 => lineas_statement(which, numbers),
        1 => pedidos_statement(which, numbers),
        _ if random.u32(0..100) == 0 => "TRUNCATE lineas".to_owned(),
        _ => mixed_statement(which, numbers),
    }
}

fn lineas_statement(which: u32, numbers: Numbers) -> String {
    let Numbers {
        linea,
        pedido,
        other,
        n,
        ..
    } = numbers;
    let (one, two) = (existing(pedido), existing(other));
    match which {
        0 => format!("INSERT INTO lineas (pedido_id, cantidad) VALUES ({one}, {n})"),
        1 => format!(
            "INSERT INTO lineas (pedido_id) SELECT id FROM pedidos WHERE id BETWEEN {pedido} AND {pedido} + {n}"
        ),
        2 => "INSERT INTO lineas (pedido_id) VALUES (NULL)".to_owned(),
        3 => format!("UPDATE lineas SET cantidad = {n} WHERE {linea}"),
        4 => format!("UPDATE lineas SET pedido_id = {one} WHERE {linea}"),
        5 => format!("UPDATE lineas SET nota = 'x' WHERE {linea}"),
        6 => format!("DELETE FROM lineas WHERE {linea} AND id % 2 = 0"),
        7 => format!(
            "UPDATE lineas SET pedido_id = CASE pedido_id WHEN {pedido} THEN {two} ELSE {one} END WHERE pedido_id IN ({pedido}, {other})"
        ),
        _ => format!("UPDATE lineas SET pedido_id = NULL WHERE {linea} AND cantidad = {n}"),
    }
}

fn pedidos_statement(which: u32, numbers: Numbers) -> String {
    let Numbers {
        pedido,
        other,
        tienda,
        elsewhere,
        n,
        ..
    } = numbers;
    match which {
        0 => format!("UPDATE pedidos SET tienda_id = {tienda} WHERE id = {pedido}"),
        1 => format!(
            "UPDATE pedidos SET tienda_id = CASE tienda_id WHEN {tienda} THEN {elsewhere} ELSE {tienda} END WHERE tienda_id IN ({tienda}, {elsewhere})"
        ),
        2 => format!("UPDATE pedidos SET total = total + {n} WHERE id % 7 = {n}"),
        3 => format!("DELETE FROM pedidos WHERE id = {pedido}"),
        4 => format!(
            "INSERT INTO pedidos (id, tienda_id) VALUES ({pedido}, {tienda}) ON CONFLICT (id) DO UPDATE SET tienda_id = EXCLUDED.tienda_id"
        ),
        5 => format!(
            "UPDATE pedidos SET id = {other} WHERE id = {pedido} AND NOT EXISTS (SELECT FROM pedidos WHERE id = {other})"
        ),
        6 => format!(
            "UPDATE pedidos SET zona = CASE id % 3 WHEN 0 THEN 'B' WHEN 1 THEN 'A' END WHERE id BETWEEN {pedido} AND {pedido} + {n}"
        ),
        7 => format!(
            "UPDATE pedidos SET zona = 'B', tienda_id = {tienda} WHERE id IN ({pedido}, {other})"
        ),
        _ => format!("UPDATE pedidos SET tienda_id = NULL WHERE id = {pedido}"),
    }
}

fn mixed_statement(which: u32, numbers: Numbers) -> String {
    let Numbers {
        pedido,
        other,
        tienda,
        n,
        ..
    } = numbers;
    let two = existing(other);
    match which {
        0 => format!("INSERT INTO lineas (id, pedido_id) VALUES ({pedido} * 3, {two}) ON CONFLICT (id) DO UPDATE SET pedido_id = EXCLUDED.pedido_id, cantidad = {n}"),
        1 => format!("WITH p AS (UPDATE pedidos SET tienda_id = {tienda} WHERE id IN ({pedido}, {other})) UPDATE lineas SET cantidad = {n} WHERE pedido_id = {pedido}"),
        2 => format!("WITH p AS (INSERT INTO pedidos (id, tienda_id) VALUES ({pedido}, {tienda}) ON CONFLICT DO NOTHING RETURNING id) INSERT INTO lineas (pedido_id) SELECT id FROM p"),
        3 => format!("UPDATE tiendas SET id = {} WHERE id = {tienda} AND NOT EXISTS (SELECT FROM tiendas WHERE id > 8)", 8 + n),
        4 => format!("UPDATE tiendas SET id = {tienda} WHERE id > 8 AND NOT EXISTS (SELECT FROM tiendas WHERE id = {tienda})"),
        5 => format!("DELETE FROM tiendas WHERE id = {tienda}; INSERT INTO tiendas VALUES ({tienda})"),
        6 => format!(
            "MERGE INTO lineas l USING (SELECT id FROM pedidos WHERE id % 5 = {n}) p ON l.pedido_id = p.id WHEN MATCHED AND l.cantidad > 2 THEN DELETE
             WHEN MATCHED THEN UPDATE SET cantidad = l.cantidad + 1 WHEN NOT MATCHED THEN INSERT (pedido_id) VALUES (p.id)"
        ),
        7 => format!("INSERT INTO pedidos (id, tienda_id) SELECT i, 1 + i % 8 FROM generate_series(1, 40) AS i WHERE i % 4 = {n} - 1 ON CONFLICT DO NOTHING"),
        _ => format!("DELETE FROM lineas WHERE pedido_id = {pedido}"),
    }
}

/// Returns a random transaction: statements, some in savepoints that are rolled back.
fn transaction(random: &mut Rng) -> String {
    let mut sql = "BEGIN;".to_owned();
    for _ in 0..random.u32(1..4) {
        let statement = statement(random);
        sql.push_str(&match random.u32(0..6) {
            0 => format!("SAVEPOINT s; {statement}; ROLLBACK TO s;"),
            1 => format!("SAVEPOINT s; {statement}; RELEASE s;"),
            _ => format!("{statement};"),
        });
    }
    sql.push_str(if random.u32(0..10) == 0 {
        "ROLLBACK"
    } else {
        "COMMIT"
    });
    sql
}

async fn server_has_merge(client: &Client) -> bool {
    let version = "SELECT current_setting('server_version_num')::int >= 150000";
    client.query_one(version, &[]).await.unwrap().get(0)
}

/// Runs a transaction. A statement that breaks a constraint ends it, and nothing else.
async fn execute(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        let code = error.code().map(|code| code.code().to_owned());
        let code = code.unwrap_or_default();
        assert!(
            code.starts_with("23") || code.starts_with("21"),
            "{sql}: {error}"
        );
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// Runs random transactions and compares what changed with what was told.
async fn run(kind: &Kind, seed: u64, count: u32) {
    let mut random = Rng::with_seed(seed);
    let mut scene = Scene::new(SCHEMA, &kind.catalog).await;
    let reader = scene.home.client().await;
    let has_merge = server_has_merge(&reader).await;
    let (mut changed, mut silent) = (0, 0);
    let mut before = kind.numbers(&reader).await;
    let mut watched = BTreeSet::new();
    for n in 0..count {
        if n % 40 == 0 {
            scene.watch_nothing().await;
            let chosen: Vec<_> = kind
                .keys
                .iter()
                .filter(|_| n % 120 != 0 && (kind.keys.len() == 1 || random.bool()))
                .collect();
            watched = chosen.iter().map(|key| Kind::shown(key)).collect();
            let keys: Vec<Vec<&str>> = chosen
                .iter()
                .map(|key| key.iter().map(String::as_str).collect())
                .collect();
            if !keys.is_empty() {
                super::watch(&scene.watcher, &keys).await;
            }
        }
        let sql = transaction(&mut random);
        if !has_merge && sql.contains("MERGE") {
            continue;
        }
        execute(&scene.other, &sql).await;
        let told = scene.told_so_far().await;
        let after = kind.numbers(&reader).await;
        for (key, number) in &after {
            let is_named = told.contains(key) || told.contains("*");
            if watched.contains(key) && before[key] != *number {
                changed += 1;
                assert!(
                    is_named,
                    "seed {seed}, {n}: {key} changed, but {told:?}: {sql}"
                );
            }
            if !watched.contains(key) {
                assert!(
                    !told.contains(key),
                    "seed {seed}, {n}: nobody watches {key}: {told:?}: {sql}"
                );
            }
        }
        if watched.is_empty() {
            silent += 1;
            assert!(
                told.is_empty(),
                "seed {seed}, {n}: nobody watches: {told:?}: {sql}"
            );
        }
        before = after;
    }
    assert!(
        changed > count / 5 && silent > count / 10,
        "{changed} changes, {silent} without a watcher"
    );
}

#[tokio::test]
async fn every_change_of_a_watched_key_is_told_and_no_other() {
    for seed in 1..=3 {
        run(&Kind::of_one_part(), seed, 1000).await;
    }
}

#[tokio::test]
async fn every_change_of_a_watched_tuple_is_told_and_no_other() {
    run(&Kind::of_two_parts(), 4, 1500).await;
}

#[tokio::test]
async fn every_change_of_a_stream_without_a_key_is_told() {
    run(&Kind::of_no_part(), 5, 500).await;
}
