//! A server that reads with the summary: the numbers of its viewers, and its behaviour when the
//! summary is wrong, missing or not readable.

use std::time::Duration;

use latido_postgres::{Config, Database, FindingLevel, examine};
use serde_json::Value;

use super::{INSTALL_FILE, close_days, run_file};
use crate::harness::cluster::{OwnCluster, TestDatabase, connect};
use crate::harness::{ADMIN_OF_B1, B1, TempFolder, TestApp};

const SCHEMA_FILES: [&str; 3] = ["sql/schema.sql", "tests/it/sql/people.sql", INSTALL_FILE];

/// Writes the configuration of docs/guides/closed-days.md.
fn write_configuration(folder: &TempFolder) -> String {
    let sql = |name: &str| format!("{}/sql/{name}", env!("CARGO_MANIFEST_DIR"));
    let toml = format!(
        r#"
        [streams.estadisticas]
        query = "{}"
        check = "{}"
        authorize = "{}"
        event = "stats"
        key_field = "negocio_id"
        [[streams.estadisticas.tables]]
        table = "citas"
        key = "negocio_id"
        columns = ["negocio_id", "fecha", "estado"]
        "#,
        sql("history/estadisticas.sql"),
        sql("estadisticas.sql"),
        sql("authorize.sql")
    );
    folder
        .write("latido.toml", &toml)
        .to_str()
        .unwrap()
        .to_owned()
}

/// Starts a server that compares several times a second.
async fn start_server(url: &str) -> TestApp {
    let folder = TempFolder::new();
    let file = write_configuration(&folder);
    let often = |config: &mut latido::app::Config| {
        (
            config.engine.sweep,
            config.engine.sweep_without_notifications,
        ) = (Duration::from_millis(100), Duration::from_millis(100));
    };
    TestApp::on_database_with(url, &[("LATIDO_CONFIG", &file)], often).await
}

async fn create_database() -> TestDatabase {
    let home = TestDatabase::create(&SCHEMA_FILES).await;
    TestApp::install_on(home.url()).await;
    home
}

fn numbers(data: &Value) -> [i64; 4] {
    [
        "citas_hoy",
        "total_citas",
        "citas_completadas",
        "citas_canceladas",
    ]
    .map(|name| data[name].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_get_the_same_numbers_with_closed_days() {
    let home = create_database().await;
    let db = home.client().await;
    let app = start_server(home.url()).await;
    for days in [-20, -10, 0] {
        app.book(&db, B1, "atendida", days).await;
    }
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(
        numbers(&socket.subscribe(&channel).await["data"]),
        [1, 3, 3, 0]
    );
    app.wait_until_settled().await;
    close_days(&db, -5).await;
    app.book(&db, B1, "cancelada", 0).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [2, 4, 3, 1])
        .await;
    // A change of a closed day reaches its viewers.
    app.book(&db, B1, "cancelada", -20).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [2, 5, 3, 2])
        .await;
    db.batch_execute("UPDATE citas SET fecha = fecha + 9 WHERE estado = 'atendida'")
        .await
        .unwrap();
    socket
        .stats_until(&channel, |data| numbers(data) == [1, 5, 3, 2])
        .await;
    // Today is closed as well.
    close_days(&db, 1).await;
    app.book(&db, B1, "atendida", 0).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [2, 6, 4, 2])
        .await;
    db.batch_execute("TRUNCATE citas").await.unwrap();
    socket
        .stats_until(&channel, |data| numbers(data) == [0, 0, 0, 0])
        .await;
    let compared = app.metric("latido_checks_total{result=\"same\"}").await;
    crate::harness::wait_until("compared again", async || {
        app.metric("latido_checks_total{result=\"same\"}").await > compared
    })
    .await;
    assert_eq!(
        app.metric("latido_checks_total{result=\"different\"}")
            .await,
        0.0
    );
    assert_eq!(app.metric("latido_checks_standing_in").await, 0.0);
    assert_eq!(app.metric("latido_read_failures_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_summary_is_detected_and_no_longer_used() {
    let home = create_database().await;
    let db = home.client().await;
    let app = start_server(home.url()).await;
    for days in [-20, 0] {
        app.book(&db, B1, "atendida", days).await;
    }
    close_days(&db, -5).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(
        numbers(&socket.subscribe(&channel).await["data"]),
        [1, 2, 2, 0]
    );
    crate::harness::wait_until("compared", async || {
        app.metric("latido_checks_total{result=\"same\"}").await > 0.0
    })
    .await;
    // No trigger notifies about this. The sweep reveals it, and the verification query replaces the
    // summary.
    db.batch_execute("UPDATE latido_history.closed SET total = 1000")
        .await
        .unwrap();
    app.assert_metric_settles("latido_checks_standing_in", 1.0)
        .await;
    assert_eq!(
        app.metric("latido_checks_total{result=\"different\"}")
            .await,
        1.0
    );
    app.book(&db, B1, "cancelada", -20).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [1, 3, 2, 1])
        .await;
    // The verification query stays active even if the summary changes.
    run_file(&db, "sql/history/remove.sql").await;
    app.book(&db, B1, "cancelada", 0).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [2, 4, 2, 2])
        .await;
    assert_eq!(app.metric("latido_checks_standing_in").await, 1.0);
    assert_eq!(app.metric("latido_read_failures_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_summary_is_replaced_by_the_plain_query() {
    let home = create_database().await;
    let db = home.client().await;
    let app = start_server(home.url()).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(
        numbers(&socket.subscribe(&channel).await["data"]),
        [0, 0, 0, 0]
    );
    run_file(&db, "sql/history/remove.sql").await;
    app.book(&db, B1, "cancelada", 0).await;
    socket
        .stats_until(&channel, |data| numbers(data) == [1, 1, 0, 1])
        .await;
    app.assert_metric_settles("latido_checks_standing_in", 1.0)
        .await;
    assert_eq!(app.get("/ready").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_role_may_only_read_the_summary() {
    // This test needs its own server, because roles belong to a cluster and not to a database.
    let cluster = OwnCluster::start(&[
        "sql/schema.sql",
        "tests/it/sql/people.sql",
        "sql/role.sql",
        INSTALL_FILE,
    ])
    .await;
    TestApp::install_on(&cluster.url()).await;
    let owner = cluster.client().await;
    let url = cluster.url().replacen("postgres@", "latido@", 1);
    let app = start_server(&url).await;
    app.book(&owner, B1, "atendida", -20).await;
    close_days(&owner, -5).await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let channel = format!("estadisticas:{B1}");
    assert_eq!(
        numbers(&socket.subscribe(&channel).await["data"]),
        [0, 1, 1, 0]
    );
    app.wait_until_settled().await;
    // A role that writes citas needs no permission on the summary.
    owner.batch_execute("CREATE ROLE escribe LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON citas TO escribe; GRANT USAGE ON SCHEMA public TO escribe").await.unwrap();
    let writer = connect(&cluster.url().replacen("postgres@", "escribe@", 1)).await;
    writer
        .batch_execute("UPDATE citas SET estado = 'cancelada'")
        .await
        .unwrap();
    socket
        .stats_until(&channel, |data| numbers(data) == [0, 1, 0, 1])
        .await;
    writer.batch_execute("TRUNCATE citas").await.unwrap();
    socket
        .stats_until(&channel, |data| numbers(data) == [0, 0, 0, 0])
        .await;
    assert_eq!(app.metric("latido_checks_standing_in").await, 0.0);
    let terminator = connect(&url).await;
    let tries = [
        "DELETE FROM latido_history.deltas",
        "UPDATE latido_history.cut SET live_from = NULL",
        "INSERT INTO latido_history.closed VALUES (NULL, 1, 1, 1)",
        "SELECT latido_history.fold()",
        "SELECT latido_history.reopen()",
        "CALL latido_history.close_before(current_date)",
    ];
    for sql in tries {
        for client in [&terminator, &writer] {
            let error = client.batch_execute(sql).await.expect_err(sql);
            assert_eq!(
                error.code().map(|code| code.code()),
                Some("42501"),
                "{sql}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn doctor_compares_both_queries() {
    let home = create_database().await;
    let db = home.client().await;
    let folder = TempFolder::new();
    let file = write_configuration(&folder);
    db.batch_execute(&crate::harness::booking_sql(B1, "atendida", -20))
        .await
        .unwrap();
    close_days(&db, -5).await;
    let check = async || {
        let settings = crate::harness::settings(home.url(), &[("LATIDO_CONFIG", &file)]);
        let catalog = latido_stream::Catalog::new(settings.streams);
        let findings = examine(&Database::open(&Config::new(home.url())).unwrap(), &catalog).await;
        findings
            .into_iter()
            .find(|finding| finding.subject == "stream estadisticas: check")
            .unwrap()
    };
    assert_eq!(check().await.level, FindingLevel::Ok);
    db.batch_execute("UPDATE latido_history.closed SET canceladas = 7")
        .await
        .unwrap();
    let wrong = check().await;
    assert!(
        wrong.level == FindingLevel::Failure && wrong.with_remedy.unwrap().contains("reopen"),
        "{}",
        wrong.detail
    );
    run_file(&db, "sql/history/remove.sql").await;
    let gone = check().await;
    assert!(
        gone.level == FindingLevel::Failure && gone.with_remedy.unwrap().contains("install.sql"),
        "{}",
        gone.detail
    );
}
