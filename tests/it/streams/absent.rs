//! A lookup that gives rows a key because their parent is absent: with the parent gone, they belong to
//! another key, also those that a transaction adds that still sees the parent.

use serde_json::json;
use tokio_postgres::Client;

use super::shop::admin_token;
use crate::harness::{TestApp, TestSocket, disable_sweep};

/// No foreign key: a row may be without its parent.
const SCHEMA: &str = "
    CREATE TABLE pedidos (id bigint PRIMARY KEY, tienda_id bigint NOT NULL);
    CREATE TABLE lineas (id bigserial PRIMARY KEY, pedido_id bigint, cantidad bigint NOT NULL);";

const TOML: &str = r#"
    [streams.unidades]
    query = '''
        SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
        CROSS JOIN LATERAL (SELECT coalesce(sum(l.cantidad), 0)::bigint AS unidades
                            FROM lineas l LEFT JOIN pedidos p ON p.id = l.pedido_id WHERE coalesce(p.tienda_id, 0) = u.id) s'''
    keys = ["tienda_id"]
    [[streams.unidades.tables]]
    table = "pedidos"
    via = "SELECT k.id FROM changed c CROSS JOIN LATERAL (VALUES (c.tienda_id), (0)) AS k (id)"
    [[streams.unidades.tables]]
    table = "lineas"
    via = "SELECT coalesce(p.tienda_id, 0) FROM changed c LEFT JOIN pedidos p ON p.id = c.pedido_id"
    columns = ["pedido_id", "cantidad"]
"#;

async fn units_until(socket: &mut TestSocket, channel: &str, units: i64) {
    loop {
        let frame = socket.next_of_type("unidades").await;
        if frame["channel"] == channel && frame["data"]["unidades"] == units {
            return;
        }
    }
}

/// Runs a change of the parent while a writer of its children is open, which begins before it, and
/// which adds its line before it or, with its old snapshot, after it.
async fn race(level: &str, change: &str, is_late: bool) {
    let app = TestApp::with_streams_and(TOML, SCHEMA, disable_sweep).await;
    let db: Client = app.connect_database().await;
    db.batch_execute("INSERT INTO pedidos VALUES (1, 1); INSERT INTO lineas (pedido_id, cantidad) VALUES (1, 10), (2, 100)")
        .await
        .unwrap();
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    for (key, units) in [(0, 100), (1, 10)] {
        let channel = format!("unidades:{key}");
        let subscribe = json!({"type": "subscribe", "channel": channel});
        socket.send(&subscribe).await;
        units_until(&mut socket, &channel, units).await;
    }
    app.wait_until_settled().await;
    let writer = app.connect_database().await;
    let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT * FROM pedidos");
    let add = "INSERT INTO lineas (pedido_id, cantidad) VALUES (1, 5)";
    writer.batch_execute(&begin).await.unwrap();
    if !is_late {
        writer.batch_execute(add).await.unwrap();
    }
    db.batch_execute(change).await.unwrap();
    units_until(&mut socket, "unidades:0", 110).await;
    if is_late {
        writer.batch_execute(add).await.unwrap();
    }
    writer.batch_execute("COMMIT").await.unwrap();
    units_until(&mut socket, "unidades:0", 115).await;
    assert_eq!(app.metric("latido_corrections_total").await, 0.0);
}

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

#[tokio::test(flavor = "multi_thread")]
async fn deleted_parent_leaves_no_line_of_an_open_writer_behind() {
    for level in LEVELS {
        race(level, "DELETE FROM pedidos WHERE id = 1", false).await;
    }
    race(LEVELS[1], "DELETE FROM pedidos WHERE id = 1", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parent_of_another_id_leaves_no_line_of_an_open_writer_behind() {
    for level in LEVELS {
        race(level, "UPDATE pedidos SET id = 9 WHERE id = 1", false).await;
    }
}
