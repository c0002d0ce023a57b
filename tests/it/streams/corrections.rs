//! Changes that no notification announced: the doctor names their streams, with what to do.

use std::time::Duration;

use super::shop::{SCHEMA, admin_token};
use crate::harness::claims::SECRET;
use crate::harness::cluster::TestDatabase;
use crate::harness::{B1, CommandHome, CommandOutput, TestApp};

/// The stream `incompleta` does not list the table `lineas`, whose rows it counts.
const TOML: &str = r#"
    [streams.incompleta]
    query = '''
        SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
        CROSS JOIN LATERAL (SELECT count(*) AS lineas FROM pedidos p JOIN lineas l ON l.pedido_id = p.id
                            WHERE p.tienda_id = u.id) s'''
    keys = ["tienda_id"]
    [[streams.incompleta.tables]]
    table = "pedidos"
    key = "tienda_id"
    [streams.completa]
    query = '''
        SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy)
        CROSS JOIN LATERAL (SELECT count(*) AS pedidos FROM pedidos p WHERE p.tienda_id = u.id) s'''
    keys = ["tienda_id"]
    [[streams.completa.tables]]
    table = "pedidos"
    key = "tienda_id"
"#;

/// Runs `latido doctor --server` in a home with the configuration of the server.
async fn ask(app: &TestApp, server: &str) -> CommandOutput {
    let home = CommandHome::new();
    home.folder().write("latido.toml", TOML);
    let url = app.database_url();
    let variables = [
        ("DATABASE_URL", url.as_str()),
        ("JWT_SECRET", SECRET),
        ("LATIDO_CONFIG", "latido.toml"),
    ];
    home.run(&["doctor", "--server", server], &variables).await
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_streams_whose_changes_only_the_sweep_found() {
    let app = TestApp::with_streams_and(TOML, SCHEMA, |config| {
        config.engine.sweep = Duration::from_millis(200);
    })
    .await;
    let db = app.connect_database().await;
    db.batch_execute("INSERT INTO pedidos (id, tienda_id) VALUES (100, 7)")
        .await
        .unwrap();
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    for stream in ["incompleta", "completa"] {
        socket.subscribe_as(&format!("{stream}:7"), stream).await;
    }
    // The read after the watch locks are held would find the row, and nothing would be counted.
    app.wait_until_settled().await;
    app.wait_until_covered().await;
    let server = format!("http://{}", app.address());
    let before = ask(&app, &server).await;
    let none = "since it started, notifications announced every change of its streams";
    assert!(
        before.stdout.contains(none) && !before.stdout.contains("corrections"),
        "{before:?}"
    );
    db.batch_execute("INSERT INTO lineas (pedido_id, cantidad, precio) VALUES (100, 1, 1)")
        .await
        .unwrap();
    while socket.next_of_type("incompleta").await["data"]["lineas"] != 1 {}
    // A notification for this key would explain the change for a moment.
    let of_stream = "latido_stream_corrections_total{stream=\"incompleta\"}";
    app.assert_metric_settles(of_stream, 1.0).await;
    db.batch_execute("INSERT INTO pedidos (tienda_id) VALUES (7)")
        .await
        .unwrap();
    while socket.next_of_type("completa").await["data"]["pedidos"] != 2 {}
    let after = ask(&app, &server).await;
    let found = format!(
        "warning  stream incompleta: corrections: since it started, the server at {server} found 1 changes"
    );
    assert!(
        after.stdout.contains(&found) && after.stdout.contains("latido doctor --lookups"),
        "{after:?}"
    );
    assert!(
        !after.stdout.contains("stream completa: corrections") && !after.stdout.contains(none),
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_missing_triggers_explain_count_against_no_stream() {
    let files = ["sql/schema.sql", "tests/it/sql/people.sql"];
    let database = TestDatabase::create(&files).await;
    let app = TestApp::start_on_database(database.url(), &[], |config| {
        config.engine.sweep_without_notifications = Duration::from_millis(200);
    });
    app.wait_until_ready().await;
    let db = app.connect_database().await;
    let channel = format!("estadisticas:{B1}");
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    socket.subscribe(&channel).await;
    app.wait_until_settled().await;
    app.book(&db, B1, "pendiente", 0).await;
    socket
        .stats_until(&channel, |data| data["total_citas"] == 1)
        .await;
    // The triggers may be installed before the change counts as missed.
    app.running().engine().set_triggers_complete(true);
    app.assert_metric_settles("latido_corrections_total", 1.0)
        .await;
    let of_streams = "latido_stream_corrections_total";
    assert_eq!(app.metric(of_streams).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_does_not_answer_is_a_failure() {
    let app = TestApp::with_streams(TOML, SCHEMA).await;
    let of = |address: &str| format!("FAILURE  server {address}: ");
    let closed = "http://127.0.0.1:1";
    let asked = ask(&app, closed).await;
    let text = format!("{}it does not answer", of(closed));
    assert!(
        asked.code == Some(1) && asked.stdout.contains(&text),
        "{asked:?}"
    );
    let elsewhere = format!("http://{}/nada", app.address());
    let asked = ask(&app, &elsewhere).await;
    let text = format!("{}/metrics answers 404; expected 200", of(&elsewhere));
    assert!(
        asked.code == Some(1) && asked.stdout.contains(&text),
        "{asked:?}"
    );
    let asked = ask(&app, "http://ana:s3cret@127.0.0.1").await;
    let expected = "expected the address of a server, such as http://127.0.0.1:8080";
    assert!(
        asked.code == Some(2) && asked.stderr.contains(expected),
        "{asked:?}"
    );
}
