//! Random writers against random faults. At the end, the last numbers of every client equal the
//! query's result, and versions only rose.
//!
//! `LATIDO_SEED=n` replays a run.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_postgres::Client;

use crate::harness::{OTHER_USER, TestApp, TestSocket, claims, wait_until};

pub(crate) const BUSINESSES: usize = 6;
const WRITERS: usize = 6;
const CLIENTS: usize = 8;
const STEPS: usize = 60;

pub(crate) fn business(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_converges() {
    let seed = crate::harness::replayable_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut app = TestApp::on_own_cluster().await;
    let done = watch::Sender::new(false);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            tokio::spawn(follow_until_done(
                app.ws_url(),
                dashboard_token(&app),
                vec![n % BUSINESSES, (n * 5 + 1) % BUSINESSES],
                done.subscribe(),
            ))
        })
        .collect();
    for _round in 0..3 {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (random, url) = (random.fork(), app.database_url());
                tokio::spawn(async move { run_writer(&url, random).await })
            })
            .collect();
        inject_faults(&mut app, &mut random).await;
        for writer in writers {
            writer.await.expect("a writer ends");
        }
    }
    app.quiesce().await;
    done.send_replace(true);
    let db = app.connect_database().await;
    let mut truth = HashMap::new();
    for n in 0..BUSINESSES {
        truth.insert(
            n,
            query_numbers(&db, n)
                .await
                .expect("the numbers in the database"),
        );
    }
    for client in clients {
        for (n, last) in client.await.expect("a client ends") {
            assert_eq!(last, truth[&n], "business {n}, LATIDO_SEED={seed}");
        }
    }
}

fn dashboard_token(app: &TestApp) -> String {
    app.sign(&json!({"id": OTHER_USER, "rol": "admin_sistema", "exp": claims::now() + 3600}))
}

/// Runs the query directly. Returns `None` if the database gives no result.
pub(crate) async fn query_numbers(db: &Client, n: usize) -> Option<[i64; 4]> {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE fecha = (now() AT TIME ZONE 'UTC')::date), count(*),
                count(*) FILTER (WHERE estado = 'atendida'), count(*) FILTER (WHERE estado = 'cancelada')
         FROM citas WHERE negocio_id = '{}'",
        business(n)
    );
    let row = db.query_one(sql.as_str(), &[]).await.ok()?;
    Some([row.get(0), row.get(1), row.get(2), row.get(3)])
}

/// Follows businesses as a dashboard until `done` is set. Then subscribes again and returns the
/// numbers that the server answers with.
async fn follow_until_done(
    url: String,
    token: String,
    businesses: Vec<usize>,
    mut done: watch::Receiver<bool>,
) -> HashMap<usize, [i64; 4]> {
    let channel = |n: usize| format!("estadisticas:{}", business(n));
    let mut socket = TestSocket::connect(&url, &token).await;
    for n in &businesses {
        socket.subscribe(&channel(*n)).await;
    }
    let mut versions = HashMap::new();
    loop {
        tokio::select! {
            frame = socket.next() => check_version(&mut versions, &frame),
            _ = done.wait_for(|done| *done) => break,
        }
    }
    let mut last = HashMap::new();
    for n in businesses {
        let name = channel(n);
        socket
            .send(&json!({"type": "subscribe", "channel": name}))
            .await;
        // All earlier frames arrive before this answer, and the current one follows it.
        loop {
            let frame = socket.next().await;
            if frame["type"] == "subscribed" && frame["data"]["channel"] == name {
                break;
            }
            check_version(&mut versions, &frame);
        }
        let frame = socket.next_stats(&name).await;
        last.insert(n, four_numbers(&frame["data"]));
    }
    last
}

/// Asserts that the versions of a channel rise.
fn check_version(versions: &mut HashMap<String, u64>, frame: &Value) {
    if frame["type"] == "stats" {
        let version = frame["v"].as_u64().expect("a version");
        let before = versions.insert(frame["channel"].to_string(), version);
        assert!(
            before.is_none_or(|before| version > before),
            "versions rise"
        );
    }
}

fn four_numbers(data: &Value) -> [i64; 4] {
    [
        "citas_hoy",
        "total_citas",
        "citas_completadas",
        "citas_canceladas",
    ]
    .map(|name| data[name].as_i64().expect("a number"))
}

/// Runs random statements in random transactions. Errors come from the injected faults; a statement
/// that was not committed has no effect.
async fn run_writer(url: &str, mut random: fastrand::Rng) {
    let mut client: Option<Client> = None;
    for _ in 0..STEPS {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = crate::harness::try_connect(url).await;
        }
        let Some(db) = &client else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = db.batch_execute(&statements(&mut random)).await;
    }
}

/// Returns a transaction, or a single statement, which is its own transaction.
pub(crate) fn statements(random: &mut fastrand::Rng) -> String {
    let several: Vec<_> = (0..random.usize(1..4)).map(|_| statement(random)).collect();
    let body = several.join("; ");
    match random.u8(0..10) {
        0 => format!("BEGIN; {body}; ROLLBACK"),
        1 => format!(
            "BEGIN; {body}; SAVEPOINT a; {}; ROLLBACK TO a; COMMIT",
            statement(random)
        ),
        2 => format!("BEGIN; {body}; SELECT pg_sleep(0.02); COMMIT"),
        3..6 => format!("BEGIN; {body}; COMMIT"),
        _ => several.into_iter().next().unwrap_or_default(),
    }
}

fn statement(random: &mut fastrand::Rng) -> String {
    let one = business(random.usize(0..BUSINESSES));
    let other = business(random.usize(0..BUSINESSES));
    let state = ["pendiente", "atendida", "cancelada"][random.usize(0..3)];
    let some = format!(
        "id IN (SELECT id FROM citas WHERE negocio_id = '{one}' ORDER BY random() LIMIT {})",
        random.u8(1..5)
    );
    match random.u8(0..24) {
        0..8 => crate::harness::booking_sql(&one, state, random.i32(-1..2)),
        8..13 => format!("UPDATE citas SET estado = '{state}' WHERE {some}"),
        13..16 => format!("UPDATE citas SET negocio_id = '{other}' WHERE {some}"),
        16..18 => format!("UPDATE citas SET fecha = fecha + 1 WHERE {some}"),
        18..21 => format!("DELETE FROM citas WHERE {some}"),
        21..23 => format!("DELETE FROM citas WHERE negocio_id IN ('{one}', '{other}')"),
        _ => "TRUNCATE citas".to_owned(),
    }
}

/// Disconnects the listener, terminates backends, and kills and restarts the server during the
/// writes.
async fn inject_faults(app: &mut TestApp, random: &mut fastrand::Rng) {
    for _ in 0..random.u8(1..4) {
        tokio::time::sleep(Duration::from_millis(random.u64(20..200))).await;
        match random.u8(0..4) {
            0 => {
                app.cluster().kill().await;
                app.cluster().restart().await;
            }
            1 => terminate_backends(app, "").await,
            _ => terminate_backends(app, "AND application_name LIKE 'latido%'").await,
        }
    }
}

async fn terminate_backends(app: &TestApp, whose: &str) {
    let Some(db) = crate::harness::try_connect(&app.database_url()).await else {
        return;
    };
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database() {whose}"
    );
    let _ = db.batch_execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_added_by_copy_are_delivered() {
    use futures_util::SinkExt;
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    app.book(&db, crate::harness::B1, "pendiente", 0).await;
    let mut socket = app.connect_socket(&dashboard_token(&app)).await;
    let channel = format!("estadisticas:{}", crate::harness::B1);
    socket.subscribe(&channel).await;
    db.batch_execute(
        "CREATE TEMP TABLE t AS SELECT * FROM citas; UPDATE t SET id = gen_random_uuid()",
    )
    .await
    .expect("a copy");
    let text = "SELECT concat_ws(E'\\t', id, cliente_id, negocio_id, fecha, hora_inicio, hora_fin, estado) || E'\\n' FROM t";
    let rows: String = db.query_one(text, &[]).await.expect("a row").get(0);
    let copy =
        "COPY citas (id, cliente_id, negocio_id, fecha, hora_inicio, hora_fin, estado) FROM STDIN";
    let mut sink = std::pin::pin!(db.copy_in(copy).await.expect("COPY"));
    sink.send(bytes::Bytes::from(rows)).await.expect("sent");
    sink.close().await.expect("copied");
    socket
        .stats_until(&channel, |data| data["total_citas"] == 2)
        .await;
    wait_until("nothing is owed", async || {
        app.metric("latido_dirty_keys").await == 0.0
    })
    .await;
}
