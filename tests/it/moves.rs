//! Streams whose triggers look keys up: the gate locks, and rows that move to another key while a
//! transaction is open that looked their old key up.
//!
//! The sweep is off and the triggers are disabled. The tests send what triggers would send, so
//! nothing but the rule for moves can find the changes.

use serde_json::json;
use tokio_postgres::Client;

use crate::harness::{TempFolder, TestApp, TestSocket, claims, disable_sweep, wait_until};

const STREAMS: &str = r#"
    [streams.ventas]
    query = """SELECT u.k AS tienda, (SELECT coalesce(sum(l.cantidad), 0) FROM lineas l JOIN pedidos p ON p.id = l.pedido_id
               WHERE p.tienda = u.k) AS total FROM unnest($1::int[]) AS u (k)"""
    key_field = "tienda"
    event = "stats"
    [[streams.ventas.tables]]
    table = "lineas"
    via = "SELECT p.tienda FROM changed c JOIN pedidos p ON p.id = c.pedido_id"
    [[streams.ventas.tables]]
    table = "pedidos"
    key = "tienda"

    [streams.plain]
    query = "SELECT u.k AS tienda, (SELECT count(*) FROM pedidos p WHERE p.tienda = u.k) AS n FROM unnest($1::int[]) AS u (k)"
    key_field = "tienda"
    event = "stats"
    [[streams.plain.tables]]
    table = "pedidos"
    key = "tienda"
"#;

const TABLES: &str = "
    CREATE TABLE pedidos (id int PRIMARY KEY, tienda int);
    CREATE TABLE lineas (id serial PRIMARY KEY, pedido_id int, cantidad int);
    INSERT INTO pedidos VALUES (1, 1), (2, 2);
    INSERT INTO lineas (pedido_id, cantidad) VALUES (1, 10)";

/// Counts the watch locks that the servers hold in this database.
const HELD_LOCKS: &str = "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database()
    WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted";

/// Moves order 1 to shop 2, and sends what the trigger for moves sends.
const MOVE: &str = r#"BEGIN; UPDATE pedidos SET tienda = 2 WHERE id = 1;
    SELECT pg_notify('latido', '["ventas!","2"]'); COMMIT"#;

/// Starts two servers on one database, because only the installation of the first one is known to
/// be complete at its start. Returns the second one as well.
async fn start_app() -> (TestApp, TestApp) {
    let first = TestApp::with_streams(STREAMS, TABLES).await;
    let folder = TempFolder::new();
    let file = folder.write("latido.toml", STREAMS);
    let variables = [("LATIDO_CONFIG", file.to_str().unwrap())];
    let app = TestApp::on_database_with(&first.database_url(), &variables, disable_sweep).await;
    let db = app.connect_database().await;
    for table in ["lineas", "pedidos"] {
        let sql = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
        db.batch_execute(&sql).await.unwrap();
    }
    (first, app)
}

async fn connect(app: &TestApp) -> TestSocket {
    let claims = json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 3600});
    app.connect_socket(&app.sign(&claims)).await
}

/// Opens a transaction that adds 5 to order 1, as a writer that looks the order's shop up.
async fn open_writer(app: &TestApp) -> Client {
    let writer = app.connect_database().await;
    let insert = "BEGIN; INSERT INTO lineas (pedido_id, cantidad) VALUES (1, 5)";
    writer.batch_execute(insert).await.unwrap();
    writer
}

async fn held_locks(db: &Client) -> i64 {
    db.query_one(HELD_LOCKS, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_key_is_read_again_when_older_transactions_have_ended() {
    let (_first, app) = start_app().await;
    let db = app.connect_database().await;
    let mut socket = connect(&app).await;
    assert_eq!(socket.subscribe("ventas:2").await["data"]["total"], 0);
    app.wait_until_settled().await;
    let writer = open_writer(&app).await;
    db.batch_execute(MOVE).await.unwrap();
    socket
        .stats_until("ventas:2", |data| data["total"] == 10)
        .await;
    app.assert_metric_settles("latido_moved_keys", 1.0).await;
    writer.batch_execute("COMMIT").await.unwrap();
    socket
        .stats_until("ventas:2", |data| data["total"] == 15)
        .await;
    app.assert_metric_settles("latido_moved_keys", 0.0).await;
    assert_eq!(app.metric("latido_corrections_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewer_after_the_move_misses_nothing() {
    let (_first, app) = start_app().await;
    let db = app.connect_database().await;
    let writer = open_writer(&app).await;
    db.batch_execute(MOVE).await.unwrap();
    let mut socket = connect(&app).await;
    assert_eq!(socket.subscribe("ventas:2").await["data"]["total"], 10);
    writer.batch_execute("COMMIT").await.unwrap();
    socket
        .stats_until("ventas:2", |data| data["total"] == 15)
        .await;
    app.assert_metric_settles("latido_moved_keys", 0.0).await;
}

/// A transaction that has not written yet has no id, but it has a snapshot from before the move.
#[tokio::test(flavor = "multi_thread")]
async fn old_snapshot_that_writes_after_the_move_is_awaited() {
    let (_first, app) = start_app().await;
    let db = app.connect_database().await;
    let mut socket = connect(&app).await;
    socket.subscribe("ventas:2").await;
    app.wait_until_settled().await;
    let writer = app.connect_database().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM pedidos";
    writer.batch_execute(begin).await.unwrap();
    db.batch_execute(MOVE).await.unwrap();
    app.assert_metric_settles("latido_moved_keys", 1.0).await;
    let insert = "INSERT INTO lineas (pedido_id, cantidad) VALUES (1, 5); COMMIT";
    writer.batch_execute(insert).await.unwrap();
    socket
        .stats_until("ventas:2", |data| data["total"] == 15)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gate_locks_are_held_while_a_key_of_their_stream_is_watched() {
    let (_first, app) = start_app().await;
    let db = app.connect_database().await;
    let mut socket = connect(&app).await;
    socket.subscribe("plain:1").await;
    app.wait_until_settled().await;
    assert_eq!(held_locks(&db).await, 2, "a stream without a gate");
    for (shop, expected) in [(1, 2 + 2 + 64), (2, 2 + 4 + 64)] {
        socket.subscribe(&format!("ventas:{shop}")).await;
        app.wait_until_settled().await;
        assert_eq!(held_locks(&db).await, expected);
    }
    socket.close().await;
    wait_until("every lock is released", async || {
        held_locks(&db).await == 0
    })
    .await;
}

/// A writer that found the gate free looked nothing up and notifies nobody.
#[tokio::test(flavor = "multi_thread")]
async fn silent_writer_behind_the_gate_is_awaited() {
    let (_first, app) = start_app().await;
    let writer = open_writer(&app).await;
    let gate = "SELECT pg_try_advisory_xact_lock(1818326127,
        (2048 + (hashtextextended('ventas' COLLATE \"C\", 0) & 15) * 64 + 3)::int)";
    let is_silent: bool = writer.query_one(gate, &[]).await.unwrap().get(0);
    assert!(is_silent);
    let mut socket = connect(&app).await;
    assert_eq!(
        socket.subscribe("ventas:1").await["data"]["total"],
        10,
        "viewers need not wait for the writer"
    );
    app.assert_metric_settles("latido_interest_missing", 1.0)
        .await;
    writer.batch_execute("COMMIT").await.unwrap();
    socket
        .stats_until("ventas:1", |data| data["total"] == 15)
        .await;
    app.assert_metric_settles("latido_interest_missing", 0.0)
        .await;
}
