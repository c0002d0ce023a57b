//! Random transactions against an oracle, without faults and without a sweep: at the end every
//! client shows what the queries return, so every change was announced. Each channel is followed on
//! a WebSocket and on an event stream with other channels.
//!
//! Writers move orders to other branches while others change their lines, at each isolation level:
//! no trigger sees that race.
//!
//! `LATIDO_SEED=n` replays a run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;

use super::extras::{Extras, INTERVAL, MEAN_KEYS};
use super::follower::{Follower, Shown};
use super::shop::{SCHEMA, shop_toml};
use crate::harness::{TEST_TIMEOUT, TestApp, disable_sweep, wait_until};

const BRANCHES: u8 = 4;
const WRITERS: usize = 5;
const STEPS: usize = 60;
/// Writers have another format of dates than the server.
const DATE_FORMAT: &str = "SET datestyle = 'German, DMY'";

/// The channels of the shop, with the SQL for their data.
fn channels() -> Vec<(String, String)> {
    let mut all = vec![(
        "totales".to_owned(),
        "SELECT json_build_object('pedidos', count(*), 'total', coalesce(sum(total), 0)) FROM pedidos".to_owned(),
    )];
    for branch in 1..=BRANCHES {
        all.push((
            format!("unidades:{branch}"),
            format!(
                "SELECT json_build_object('unidades', coalesce(sum(l.cantidad), 0), 'importe', coalesce(sum(l.cantidad * l.precio), 0))
                 FROM pedidos p JOIN lineas l ON l.pedido_id = p.id WHERE p.tienda_id = {branch}"
            ),
        ));
        all.push((
            format!("traspasos:{branch}"),
            format!(
                "SELECT json_build_object('saldo', coalesce(sum(importe) FILTER (WHERE destino_id = {branch}), 0)
                                                 - coalesce(sum(importe) FILTER (WHERE origen_id = {branch}), 0)) FROM traspasos"
            ),
        ));
        for day in ["2026-11-02", "2026-11-03"] {
            all.push((
                format!("rangos:{branch}?desde={day}"),
                format!(
                    "SELECT json_build_object('total', coalesce(sum(total), 0)) FROM pedidos WHERE tienda_id = {branch} AND dia >= '{day}'"
                ),
            ));
        }
        for till in ["a", "b/c"] {
            all.push((
                format!("cajas:{branch}/{}", till.replace('/', "%2F")),
                format!(
                    "SELECT json_build_object('total', coalesce(sum(total), 0), 'pedidos', count(*))
                     FROM pedidos WHERE tienda_id = {branch} AND caja = '{till}'"
                ),
            ));
        }
    }
    all
}

/// The server, its clients, and the seed of the run.
struct Run {
    app: TestApp,
    db: Client,
    clients: Vec<Follower>,
    channels: Vec<(String, String)>,
    seed: u64,
}

impl Run {
    /// Starts a server whose channels all have a client on a socket and one of an event stream.
    async fn start(extras: &Extras, seed: u64) -> Self {
        let toml = format!("{}{}", shop_toml(), extras.toml());
        let schema = format!("{SCHEMA}; {}", extras.schema());
        let app = TestApp::with_streams_and(&toml, &schema, disable_sweep).await;
        let channels: Vec<_> = channels().into_iter().chain(extras.channels()).collect();
        let names: Vec<_> = channels.iter().map(|(name, _)| name.clone()).collect();
        let mut clients = Vec::new();
        for some in names.chunks(7) {
            clients.push(Follower::on_socket(&app, some).await);
        }
        for some in names.chunks(16) {
            clients.push(Follower::on_events(&app, some).await);
        }
        let db = app.connect_database().await;
        db.batch_execute(DATE_FORMAT).await.unwrap();
        Self {
            db,
            app,
            clients,
            channels,
            seed,
        }
    }

    async fn write(&self, extras: &Arc<Extras>, random: &mut fastrand::Rng) {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (mut random, url) = (random.fork(), self.app.database_url());
                let extras = Arc::clone(extras);
                tokio::spawn(async move {
                    let db = crate::harness::try_connect(&url).await.unwrap();
                    db.batch_execute(DATE_FORMAT).await.unwrap();
                    for _ in 0..STEPS {
                        // A statement may fail: a deadlock, a serialization failure, a missing parent.
                        let sql = transaction(&mut random, &extras);
                        let _ = db.batch_execute(&sql).await;
                        let _ = db.batch_execute("ROLLBACK").await;
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    }

    /// Waits until this returns nothing wrong of any channel of any client.
    async fn wait_until_right(&self, wrong: impl Fn(&str, &Shown) -> Option<String>) {
        let mut found = Vec::new();
        let waiting = async {
            loop {
                found = self.find_all(&wrong);
                if found.is_empty() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // Sooner than a client gives up that gets no frame.
        let limit = TEST_TIMEOUT / 2;
        let is_right = tokio::time::timeout(limit, waiting).await.is_ok();
        assert!(is_right, "{found:#?}, LATIDO_SEED={}", self.seed);
    }

    fn find_all(&self, wrong: &impl Fn(&str, &Shown) -> Option<String>) -> Vec<String> {
        let mut found = Vec::new();
        for client in &self.clients {
            for (name, shown) in client.shown() {
                let what = wrong(&name, &shown);
                found.extend(what.map(|what| format!("{name} on a {}: {what}", client.name)));
            }
        }
        found
    }

    /// Leaves some keys failing, and asserts that exactly their viewers are told, and only once. Then
    /// mends all keys.
    async fn check_failing_keys(&self, random: &mut fastrand::Rng) {
        let mut failing = Vec::new();
        let certain = random.choice(MEAN_KEYS).unwrap();
        for (branch, till) in MEAN_KEYS {
            let n = match (branch, till) == certain {
                true => 0,
                false => random.u8(0..2),
            };
            let sql = format!(
                "UPDATE valores SET n = {n} WHERE tienda_id = {branch} AND caja = '{till}'"
            );
            self.db.batch_execute(&sql).await.unwrap();
            let name = format!("medias:{branch}/{}", till.replace('/', "%2F"));
            failing.extend((n == 0).then_some(name));
        }
        let must_fail = |name: &str| failing.iter().any(|key| name.starts_with(key));
        self.wait_until_right(|name, shown| {
            let (is, must) = ((shown.is_failing, shown.is_stale), must_fail(name));
            let must = (must, must && !shown.data.is_null());
            (is != must).then(|| format!("failing and stale {is:?}, expected {must:?}"))
        })
        .await;
        let all = || self.clients.iter().flat_map(|client| client.shown());
        let errors = || all().map(|(_, shown)| shown.errors).sum::<i64>();
        let before = errors();
        let failures = self.app.metric("latido_read_failures_total").await;
        wait_until("further failures", async || {
            self.app.metric("latido_read_failures_total").await > failures + 2.0
        })
        .await;
        assert_eq!(errors(), before, "told twice, LATIDO_SEED={}", self.seed);
        let mend = "UPDATE valores SET n = 5 WHERE n = 0";
        self.db.batch_execute(mend).await.unwrap();
    }

    /// Changes the keys of `ritmos` faster than their interval.
    async fn change_fast(&self) {
        for _ in 0..60 {
            let change = "INSERT INTO pedidos (tienda_id, total) SELECT n, 1 FROM generate_series(1, 4) AS n";
            self.db.batch_execute(change).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn check_truth(&self) {
        self.app.quiesce().await;
        let mut truth = HashMap::new();
        for (name, sql) in &self.channels {
            truth.insert(name.as_str(), one_json(&self.db, sql).await);
        }
        self.wait_until_right(|name, shown| {
            let fields = truth[name].as_object().unwrap();
            let wrong = fields
                .iter()
                .find(|(field, value)| shown.data[*field] != **value);
            let wrong = wrong.map(|(field, value)| {
                format!("{field} is {}, expected {value}", shown.data[field])
            });
            wrong
                .or(shown.is_failing.then(|| "failing".to_owned()))
                .or(shown.is_stale.then(|| "stale".to_owned()))
        })
        .await;
        let sql = "SELECT count(*) FROM fallas";
        let fell: i64 = self.db.query_one(sql, &[]).await.unwrap().get(0);
        let wrong = self.find_all(&|name, shown| {
            if name.starts_with("ritmos") {
                shown.assert_paced(INTERVAL);
            }
            (shown.errors > fell).then(|| format!("{} errors of {fell}", shown.errors))
        });
        assert!(wrong.is_empty(), "{wrong:#?}, LATIDO_SEED={}", self.seed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_converges_without_a_sweep() {
    let seed = crate::harness::replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let extras = Arc::new(Extras::new(crate::key_types::has_citext().await));
    let run = Run::start(&extras, seed).await;
    run.write(&extras, &mut random).await;
    run.check_failing_keys(&mut random).await;
    run.change_fast().await;
    run.check_truth().await;
    for client in run.clients {
        client.stop().await;
    }
}

async fn one_json(db: &Client, sql: &str) -> Value {
    let sql = format!("SELECT ({sql})::text");
    let text: String = db.query_one(&sql, &[]).await.unwrap().get(0);
    serde_json::from_str(&text).unwrap()
}

fn transaction(random: &mut fastrand::Rng, extras: &Extras) -> String {
    let statement = |random: &mut fastrand::Rng| match random.u8(0..3) {
        0 => extras.statement(random),
        _ => shop_statement(random),
    };
    let level = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][random.usize(0..3)];
    let several: Vec<_> = (0..random.usize(1..4)).map(|_| statement(random)).collect();
    let pause = match random.u8(0..4) {
        0 => "SELECT pg_sleep(0.03);",
        _ => "",
    };
    let end = match random.u8(0..8) {
        0 => "ROLLBACK",
        _ => "COMMIT",
    };
    let savepoint = match random.u8(0..6) {
        0 => format!("SAVEPOINT a; {}; ROLLBACK TO a;", statement(random)),
        _ => String::new(),
    };
    format!(
        "BEGIN ISOLATION LEVEL {level}; {}; {savepoint} {pause} {end}",
        several.join("; ")
    )
}

fn shop_statement(random: &mut fastrand::Rng) -> String {
    let branch = random.u8(1..=BRANCHES);
    let other = random.u8(1..=BRANCHES);
    let till = ["a", "b/c", "d"][random.usize(0..3)];
    let day = random.u8(1..5);
    let some = format!(
        "id IN (SELECT id FROM pedidos ORDER BY random() LIMIT {})",
        random.u8(1..4)
    );
    let lines = format!(
        "id IN (SELECT id FROM lineas ORDER BY random() LIMIT {})",
        random.u8(1..4)
    );
    match random.u8(0..30) {
        0..6 => format!(
            "WITH p AS (INSERT INTO pedidos (tienda_id, caja, dia, total) VALUES ({branch}, '{till}', '2026-11-0{day}', {day}) RETURNING id)
             INSERT INTO lineas (pedido_id, cantidad, precio) SELECT id, {day}, {branch} FROM p"
        ),
        6..10 => format!(
            "INSERT INTO lineas (pedido_id, cantidad, precio) SELECT id, {day}, {other} FROM pedidos ORDER BY random() LIMIT 2"
        ),
        10..14 => format!("UPDATE lineas SET cantidad = cantidad + 1 WHERE {lines}"),
        14..18 => format!("UPDATE pedidos SET tienda_id = {other} WHERE {some}"),
        18..20 => format!("UPDATE pedidos SET caja = '{till}', total = total + 1 WHERE {some}"),
        20 => format!("UPDATE pedidos SET dia = '2026-11-0{day}' WHERE {some}"),
        21 => format!("UPDATE lineas SET pedido_id = (SELECT max(id) FROM pedidos) WHERE {lines}"),
        22 => format!("DELETE FROM lineas WHERE {lines}"),
        23 => format!("DELETE FROM pedidos WHERE {some}"),
        24 => "UPDATE pedidos SET id = nextval('pedidos_id_seq') WHERE id = (SELECT min(id) FROM pedidos)".to_owned(),
        25..28 => format!("INSERT INTO traspasos (origen_id, destino_id, importe) VALUES ({branch}, {other}, {day})"),
        28 => format!("UPDATE traspasos SET origen_id = destino_id, destino_id = origen_id WHERE destino_id = {other}"),
        _ => match random.u8(0..3) {
            0 => "TRUNCATE lineas".to_owned(),
            1 => "TRUNCATE pedidos CASCADE".to_owned(),
            _ => "TRUNCATE traspasos".to_owned(),
        },
    }
}
