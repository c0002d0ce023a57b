//! Random transactions against an oracle, without faults and without a sweep: at the end every
//! client shows what the queries return, so every change was announced.
//!
//! Writers move orders to other branches while others change their lines, at each isolation level:
//! no trigger sees that race.
//!
//! `LATIDO_SEED=n` replays a run.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_postgres::Client;

use super::shop::admin_token;
use crate::harness::TestSocket;

const BRANCHES: u8 = 4;
const WRITERS: usize = 5;
const STEPS: usize = 40;

/// The channels of one client of each kind, with the SQL for their data.
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

#[tokio::test(flavor = "multi_thread")]
async fn every_client_converges_without_a_sweep() {
    let seed = crate::harness::replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let app = super::shop().await;
    let done = watch::Sender::new(false);
    let clients: Vec<_> = channels()
        .chunks(7)
        .map(|some| {
            let names = some.iter().map(|(name, _)| name.clone()).collect();
            tokio::spawn(follow(
                app.ws_url(),
                admin_token(&app),
                names,
                done.subscribe(),
            ))
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (mut random, url) = (random.fork(), app.database_url());
            tokio::spawn(async move {
                let db = crate::harness::try_connect(&url).await.unwrap();
                for _ in 0..STEPS {
                    // A statement may fail: a deadlock, a serialization failure, a missing parent.
                    let _ = db.batch_execute(&transaction(&mut random)).await;
                    let _ = db.batch_execute("ROLLBACK").await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    app.quiesce().await;
    done.send_replace(true);
    let mut shown = HashMap::new();
    for client in clients {
        shown.extend(client.await.unwrap());
    }
    let db = app.connect_database().await;
    for (name, sql) in channels() {
        let truth = one_json(&db, &sql).await;
        let data = &shown[&name];
        for (field, value) in truth.as_object().unwrap() {
            assert_eq!(&data[field], value, "{name} {field}, LATIDO_SEED={seed}");
        }
    }
}

async fn one_json(db: &Client, sql: &str) -> Value {
    let sql = format!("SELECT ({sql})::text");
    let text: String = db.query_one(&sql, &[]).await.unwrap().get(0);
    serde_json::from_str(&text).unwrap()
}

/// Follows channels until `done` is set. Returns the data that each showed last, as it came: without
/// a new subscription, which would bring the newest row in any case.
async fn follow(
    url: String,
    token: String,
    names: Vec<String>,
    mut done: watch::Receiver<bool>,
) -> HashMap<String, Value> {
    let mut socket = TestSocket::connect(&url, &token).await;
    for name in &names {
        socket
            .send(&json!({"type": "subscribe", "channel": name}))
            .await;
    }
    let mut shown = HashMap::new();
    let mut keep = |frame: Value| {
        assert_ne!(frame["type"], "error", "{frame}");
        if let Some(name) = frame["channel"].as_str()
            && frame.get("v").is_some()
        {
            shown.insert(name.to_owned(), frame["data"].clone());
        }
    };
    loop {
        tokio::select! {
            frame = socket.next() => keep(frame),
            _ = done.wait_for(|done| *done) => break,
        }
    }
    // All earlier frames arrive before this answer.
    socket.send(&json!({"type": "ping"})).await;
    loop {
        let frame = socket.next().await;
        if frame["type"] == "pong" {
            return shown;
        }
        keep(frame);
    }
}

fn transaction(random: &mut fastrand::Rng) -> String {
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

fn statement(random: &mut fastrand::Rng) -> String {
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
