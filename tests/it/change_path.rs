//! The path from COMMIT to a frame, and its correctness when a part of the path fails.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::harness::{
    ADMIN_OF_B1, B1, B2, OTHER_USER, TestApp, TestSocket, claims, disable_sweep, wait_until, within,
};

fn channel(negocio: &str) -> String {
    format!("estadisticas:{negocio}")
}

/// Connects a dashboard that may read both businesses.
async fn connect_both(app: &TestApp) -> TestSocket {
    let token =
        app.sign(&json!({"id": OTHER_USER, "negocios": [B1, B2], "exp": claims::now() + 3600}));
    app.connect_socket(&token).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_row_change_is_delivered() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B1)).await;
    socket.subscribe(&channel(B2)).await;
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        1
    );
    db.batch_execute("UPDATE citas SET estado = 'atendida'")
        .await
        .expect("an update");
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["citas_completadas"],
        1
    );
    db.batch_execute("UPDATE citas SET fecha = fecha - 1")
        .await
        .expect("another day");
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["citas_hoy"],
        0
    );
    db.batch_execute(&format!("UPDATE citas SET negocio_id = '{B2}'"))
        .await
        .expect("a move");
    let moved = [
        socket.next_of_type("stats").await,
        socket.next_of_type("stats").await,
    ];
    for frame in moved {
        let total = i64::from(frame["channel"] == channel(B2).as_str());
        assert_eq!(frame["data"]["total_citas"], total, "{frame}");
    }
    db.batch_execute("DELETE FROM citas")
        .await
        .expect("a delete");
    assert_eq!(
        socket.next_stats(&channel(B2)).await["data"]["total_citas"],
        0
    );
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        1
    );
    db.batch_execute("TRUNCATE citas")
        .await
        .expect("a truncate");
    assert_eq!(
        socket.next_stats(&channel(B1)).await["data"]["total_citas"],
        0
    );
}

/// An interval between two reads of a key in which even a slow machine books many citas.
const INTERVAL: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn burst_needs_few_reads_and_ends_with_the_right_frame() {
    // With the default interval, a slow machine may read the key between any two of its changes.
    let app = TestApp::with(|config| {
        config.engine.pacing = config.engine.pacing.clone().with_interval(INTERVAL);
    })
    .await;
    let db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B1)).await;
    for _ in 0..2_000 {
        app.book(&db, B1, "pendiente", 0).await;
    }
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == 2_000)
        .await;
    let reads = app.metric("latido_reads_total").await;
    let received = app
        .metric(r#"latido_changes_received_total{source="trigger"}"#)
        .await;
    assert!(
        received >= 1.0 && reads < received / 4.0,
        "{reads} reads for {received} changes"
    );
    app.assert_metric_settles("latido_dirty_keys", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unwatched_keys_cause_no_query() {
    // The gate is off, so writers always notify and the server has something to ignore.
    let app = TestApp::with_settings(&[("INTEREST_GATE", "false")], disable_sweep).await;
    let db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B2)).await;
    app.wait_until_settled().await;
    let before = app.metric("latido_reads_total").await;
    for _ in 0..50 {
        app.book(&db, B1, "pendiente", 0).await;
    }
    app.book(&db, B2, "pendiente", 0).await;
    socket.next_stats(&channel(B2)).await;
    app.wait_until_settled().await;
    assert!(
        app.metric("latido_reads_total").await - before <= 2.0,
        "B2's own change, and no more than its trailing read"
    );
    // The count is below fifty because the listener merges notifications that arrive together.
    assert!(app.metric("latido_changes_unwatched_total").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_viewers_share_one_read() {
    let app = TestApp::with(disable_sweep).await;
    let token = app.token(ADMIN_OF_B1);
    let mut sockets = Vec::new();
    for _ in 0..100 {
        let mut socket = app.connect_socket(&token).await;
        socket.subscribe(&channel(B1)).await;
        sockets.push(socket);
    }
    app.wait_until_settled().await;
    let before = app.metric("latido_reads_total").await;
    let db = app.connect_database().await;
    app.book(&db, B1, "pendiente", 0).await;
    let mut frames = Vec::new();
    for socket in &mut sockets {
        frames.push(socket.next().await);
    }
    assert!(frames.iter().all(|frame| *frame == frames[0]));
    app.wait_until_settled().await;
    assert!(app.metric("latido_reads_total").await - before <= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_listener_connection_loses_no_change() {
    // A sweep could find a change before the read that follows the reconnect.
    let app = TestApp::with(disable_sweep).await;
    let db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B1)).await;
    for round in 1..=5 {
        // One transaction, so that the change commits while no listener is connected.
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()
                   AND application_name LIKE 'latido%'";
        db.batch_execute(sql).await.expect("terminating");
        app.book(&db, B1, "pendiente", 0).await;
        socket
            .stats_until(&channel(B1), |data| data["total_citas"] == round)
            .await;
    }
    app.assert_metric_settles("latido_listener_up", 1.0).await;
    assert_eq!(app.metric("latido_corrections_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_call_before_the_commit_still_delivers_the_change() {
    // Without triggers only the hook notifies, and here it does so before the commit.
    let app = TestApp::without_triggers().await;
    let mut db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B1)).await;
    let transaction = db.transaction().await.expect("BEGIN");
    app.book(&transaction, B1, "pendiente", 0).await;
    let (status, _) = app
        .notify(&json!({"negocio_id": B1, "action": "created"}))
        .await;
    assert_eq!(status, 200);
    transaction.commit().await.expect("COMMIT");
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sweep_repairs_and_counts_changes_without_notification() {
    let app = TestApp::with(|config| config.engine.sweep = Duration::from_millis(200)).await;
    let db = app.connect_database().await;
    let mut socket = connect_both(&app).await;
    socket.subscribe(&channel(B1)).await;
    // The read after the watch locks are held would find the row, and nothing would be counted.
    app.wait_until_settled().await;
    db.batch_execute("ALTER TABLE citas DISABLE TRIGGER ALL")
        .await
        .expect("disabled");
    app.book(&db, B1, "pendiente", 0).await;
    socket
        .stats_until(&channel(B1), |data| data["total_citas"] == 1)
        .await;
    app.assert_metric_settles("latido_corrections_total", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn today_ends_at_midnight_in_the_time_zone_of_the_business() {
    let app = TestApp::with_settings(&[("TIMEZONE", "America/Guayaquil")], |_| {}).await;
    let midnight: Timestamp = "2030-03-10T05:00:00Z".parse().expect("a time");
    app.clock().set(midnight - 1.hour());
    let db = app.connect_database().await;
    app.book_on(&db, B1, "pendiente", "2030-03-09").await;
    app.book_on(&db, B1, "pendiente", "2030-03-10").await;
    app.book_on(&db, B1, "pendiente", "2030-03-10").await;
    // The token must be valid according to the server's clock.
    let exp = (midnight + 1.hour()).as_second();
    let token = app.sign(&json!({"id": OTHER_USER, "negocios": [B1, B2], "exp": exp}));
    let mut socket = app.connect_socket(&token).await;
    assert_eq!(socket.subscribe(&channel(B1)).await["data"]["citas_hoy"], 1);
    app.clock().set(midnight - 1.second());
    // The engine looks at the clock at every event, such as the first viewer of another channel.
    socket
        .send(&json!({"type": "subscribe", "channel": channel(B2)}))
        .await;
    let frame = socket.next_stats(&channel(B1)).await;
    assert_eq!(
        (&frame["data"]["citas_hoy"], &frame["data"]["total_citas"]),
        (&json!(2), &json!(3)),
        "with no row changing"
    );
    assert_eq!(app.metric("latido_corrections_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_stale_during_a_database_outage_and_right_after_it() {
    let mut app = TestApp::on_own_cluster().await;
    let mut socket = connect_both(&app).await;
    let first = socket.subscribe(&channel(B1)).await;
    app.cluster().kill().await;
    let stale = socket.next_of_type("status").await;
    assert_eq!(stale["data"]["stale"], true);
    assert!((stale["data"]["since"].as_i64().expect("seconds") - claims::now()).abs() < 60);
    assert_eq!(app.get("/ready").await.0, 503);
    assert_eq!(app.get("/health").await.0, 200);
    let mut late = connect_both(&app).await;
    late.send(&json!({"type": "subscribe", "channel": channel(B1)}))
        .await;
    assert_eq!(late.next_of_type("status").await["data"]["stale"], true);
    app.cluster().restart().await;
    let db = app.connect_database().await;
    app.book(&db, B1, "pendiente", 0).await;
    let mut fresh = false;
    let frame = loop {
        let frame = socket.next_frame().await;
        fresh |= frame["type"] == "status" && frame["data"]["stale"] == false;
        if frame["type"] == "stats" && frame["data"]["total_citas"] == 1 {
            break frame;
        }
    };
    assert!(frame["v"].as_u64() > first["v"].as_u64());
    if !fresh {
        assert_eq!(socket.next_of_type("status").await["data"]["stale"], false);
    }
    wait_until("ready again", async || app.get("/ready").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_started_before_its_database_waits_for_it() {
    let app = TestApp::on_stopped_cluster().await;
    let mut app = app;
    assert_eq!(app.get("/health").await.0, 200);
    assert_eq!(app.get("/ready").await.0, 503);
    let token = app.token(ADMIN_OF_B1);
    let events = app.request(reqwest::Method::GET, &format!("/estadisticas/{B1}/events"));
    let mut events = events.bearer_auth(&token).send().await.expect("a response");
    assert_eq!(
        events.status(),
        200,
        "an EventSource would give up after a 503"
    );
    let mut text = String::new();
    let mut read_until = async |part: &str| {
        while !text.contains(part) {
            let chunk = within(events.chunk()).await.expect("the stream stays open");
            text += &String::from_utf8_lossy(&chunk.expect("the stream stays open"));
        }
        text.clear();
    };
    read_until("event:status\ndata:{\"stale\":true,\"since\":").await;
    app.cluster().restart().await;
    read_until("event:status\ndata:{\"stale\":false}").await;
    read_until("event:stats\ndata:{\"negocio_id\"").await;
    wait_until("ready", async || app.get("/ready").await.0 == 200).await;
    assert_eq!(
        connect_both(&app).await.subscribe(&channel(B1)).await["data"]["total_citas"],
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_can_be_integers_or_texts() {
    for (key_type, key, names) in [
        (
            "bigint",
            "123",
            ["estadisticas:123", "estadisticas:negocio_123"],
        ),
        (
            "text",
            "negocio_123",
            ["estadisticas:negocio_123", "estadisticas:negocio_123"],
        ),
        (
            "integer",
            "-5",
            ["estadisticas:-5", "estadisticas:negocio_-5"],
        ),
    ] {
        let app = TestApp::on_simple_schema(key_type).await;
        let db = app.connect_database().await;
        let insert = format!(
            "INSERT INTO citas (negocio_id, fecha, estado) VALUES ('{key}', '2020-01-01', 'atendida')"
        );
        db.batch_execute(&insert).await.expect("an insert");
        let token = app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 60}));
        let mut socket = app.connect_socket(&token).await;
        for name in names {
            let frame = socket.subscribe(name).await;
            assert_eq!(
                (&frame["data"]["total_citas"], &frame["data"]["negocio_id"]),
                (&json!(1), &json!(&name[13..])),
                "{key_type}"
            );
        }
        db.batch_execute(&insert).await.expect("an insert");
        assert_eq!(
            socket.next_of_type("stats").await["data"]["citas_completadas"],
            2,
            "{key_type}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn second_stream_needs_only_configuration() {
    let toml = r#"
        [streams.ventas]
        query = '''
            SELECT u.k, count(v.*) AS ventas, coalesce(sum(v.monto), 0) AS total, max(v.detalle ->> 'canal') AS canal
            FROM unnest($1::text[], $2::date[]) AS u(k, hoy) LEFT JOIN tienda.ventas v ON v.tienda = u.k GROUP BY u.k'''
        event = "ventas"
        key_field = "tienda"
        [[streams.ventas.tables]]
        table = "tienda.ventas"
        key = "tienda"
        columns = ["tienda", "monto", "detalle"]
    "#;
    let schema = "CREATE SCHEMA tienda; CREATE TABLE tienda.ventas (id serial PRIMARY KEY, tienda text, monto numeric(10,2), detalle json, nota text)";
    let app = TestApp::with_streams(toml, schema).await;
    let db = app.connect_database().await;
    let token = app.sign(&json!({"id": OTHER_USER, "tienda": "Ñandú & Co", "negocio_id": B1, "exp": claims::now() + 60}));
    let mut socket = app.connect_socket(&token).await;
    let empty = socket.subscribe_as("ventas:Ñandú & Co", "ventas").await;
    assert_eq!(
        empty["data"],
        json!({"tienda": "Ñandú & Co", "ventas": 0, "total": 0, "canal": null, "timestamp": empty["data"]["timestamp"]})
    );
    let insert = r#"INSERT INTO tienda.ventas (tienda, monto, detalle) VALUES ('Ñandú & Co', 12.50, '{"canal":"web"}')"#;
    db.batch_execute(insert).await.expect("an insert");
    let frame = socket.next_of_type("ventas").await;
    assert_eq!(frame["data"]["total"], 12.5);
    assert_eq!(
        (&frame["data"]["ventas"], &frame["data"]["canal"]),
        (&json!(1), &json!("web"))
    );
    db.batch_execute("UPDATE tienda.ventas SET nota = 'x'")
        .await
        .expect("an irrelevant update");
    db.batch_execute(r#"UPDATE tienda.ventas SET detalle = '{"canal":"tel"}'"#)
        .await
        .expect("a relevant one");
    assert_eq!(socket.next_of_type("ventas").await["data"]["canal"], "tel");
    let old: Value = socket.subscribe(&channel(B1)).await;
    assert_eq!(
        old["data"]["total_citas"], 0,
        "the built-in stream still works"
    );
}

/// A function that fails for some keys with the SQLSTATE of a statement timeout, without the wait.
const SLOW_KEY: &str = "CREATE FUNCTION costly(k text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN IF k LIKE 'giant%' THEN RAISE query_canceled USING MESSAGE = 'canceling statement due to statement timeout'; END IF; RETURN k; END $$";

const SLOW_STREAM: &str = r#"
    [streams.slow]
    query = "SELECT u.k, costly(u.k) AS same, (SELECT count(*) FROM citas) AS citas FROM unnest($1::text[]) AS u (k)"
    key_field = "k"
    [[streams.slow.tables]]
    table = "citas"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn slow_key_does_not_delay_other_keys() {
    let app = TestApp::with_streams(SLOW_STREAM, SLOW_KEY).await;
    let token = app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600}));
    let mut socket = app.connect_socket(&token).await;
    for key in ["a", "giant 1", "b", "giant 2"] {
        socket
            .send(&json!({"type": "subscribe", "channel": format!("slow:{key}")}))
            .await;
    }
    socket.subscribe(&channel(B1)).await;
    let db = app.connect_database().await;
    let mut citas = 0;
    for round in 1..=3 {
        app.book(&db, B1, "pendiente", 0).await;
        let mut waiting = vec!["slow:a", "slow:b"];
        while !waiting.is_empty() {
            let frame = socket.next_frame().await;
            assert_ne!(frame["type"], "status", "the database answers: {frame}");
            citas = frame["data"]["citas"].as_i64().unwrap_or(citas);
            waiting.retain(|name| frame["channel"] != *name || frame["data"]["citas"] != round);
        }
    }
    assert_eq!(citas, 3);
    // Only the two keys themselves fail.
    let failures = app
        .metric(r#"latido_read_failures_total{kind="unavailable"}"#)
        .await;
    assert_eq!(failures, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_key_concerns_no_other_channel() {
    let app = TestApp::with_streams(SLOW_STREAM, SLOW_KEY).await;
    let token = app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600}));
    let mut socket = app.connect_socket(&token).await;
    socket.subscribe(&channel(B1)).await;
    let mut failing = app.connect_socket(&token).await;
    let told = failing.subscribe_as("slow:giant", "error").await;
    assert_eq!(told["data"]["code"], "unavailable", "{told}");
    let db = app.connect_database().await;
    for total in 1..=3 {
        app.book(&db, B1, "pendiente", 0).await;
        let frame = socket.next().await;
        assert_eq!(frame["data"]["total_citas"], total, "{frame}");
    }
    failing.close().await;
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_frames_are_counted() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let mut one = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    one.subscribe(&channel(B1)).await;
    let mut two = connect_both(&app).await;
    two.subscribe(&channel(B1)).await;
    two.subscribe(&channel(B2)).await;
    // A frame is counted after it was handed to the kernel, so the client may be faster. There are
    // three times `subscribed` and `stats`.
    app.assert_metric_settles("latido_frames_sent_total", 6.0)
        .await;
    let before = app.metric("latido_sent_bytes_total").await;
    app.book(&db, B1, "pendiente", 0).await;
    let frame = one.next().await;
    assert_eq!(two.next().await, frame);
    // One each, however many channels a client has.
    app.assert_metric_settles("latido_frames_sent_total", 8.0)
        .await;
    let bytes = app.metric("latido_sent_bytes_total").await - before;
    assert!(bytes > 2.0 * 200.0 && bytes < 2.0 * 300.0, "{bytes}");
}
