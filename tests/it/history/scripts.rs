//! The scripts `install.sql` and `remove.sql` next to `latido install` and `latido uninstall`.

use super::{
    INSTALL_FILE, assert_queries_agree, close_days, count_rows, create_database, insert_cita,
    run_file,
};
use crate::harness::cluster::TestDatabase;

const REMOVE_FILE: &str = "sql/history/remove.sql";

#[tokio::test]
async fn reinstalling_changes_nothing_and_removing_leaves_nothing() {
    let home = create_database().await;
    let client = home.client().await;
    insert_cita(&client, 0, "current_date - 9", "atendida").await;
    close_days(&client, -3).await;
    insert_cita(&client, 0, "current_date - 9", "cancelada").await;
    run_file(&client, INSTALL_FILE).await;
    assert_eq!(
        (
            count_rows(&client, "latido_history.closed").await,
            count_rows(&client, "latido_history.deltas").await
        ),
        (1, 1)
    );
    assert_queries_agree(&client).await;
    close_days(&client, -2).await;
    assert_queries_agree(&client).await;
    for _ in 0..2 {
        run_file(&client, REMOVE_FILE).await;
    }
    let left = "(SELECT FROM pg_namespace WHERE nspname LIKE 'latido%' UNION ALL SELECT FROM pg_trigger WHERE tgname LIKE 'latido%') AS l";
    assert_eq!(count_rows(&client, left).await, 0);
    insert_cita(&client, 0, "current_date - 9", "atendida").await;
    run_file(&client, INSTALL_FILE).await;
    close_days(&client, -2).await;
    assert_queries_agree(&client).await;
}

#[tokio::test]
async fn scripts_do_not_remove_objects_of_each_other() {
    let home = TestDatabase::create(&["sql/schema.sql", INSTALL_FILE]).await;
    let client = home.client().await;
    close_days(&client, -2).await;
    crate::harness::TestApp::install_on(home.url()).await;
    let stream_triggers = "pg_trigger WHERE tgname LIKE 'latido_estadisticas%'";
    let history_triggers = "pg_trigger WHERE tgname LIKE 'latido_history%'";
    assert_eq!(
        (
            count_rows(&client, stream_triggers).await,
            count_rows(&client, history_triggers).await
        ),
        (4, 4)
    );
    let config = latido_postgres::Config::new(home.url());
    latido_postgres::Database::open(&config)
        .unwrap()
        .uninstall(&[])
        .await
        .unwrap();
    assert_eq!(
        (
            count_rows(&client, stream_triggers).await,
            count_rows(&client, history_triggers).await
        ),
        (0, 4)
    );
    crate::harness::TestApp::install_on(home.url()).await;
    run_file(&client, REMOVE_FILE).await;
    assert_eq!(
        (
            count_rows(&client, stream_triggers).await,
            count_rows(&client, history_triggers).await
        ),
        (4, 0)
    );
}

#[tokio::test]
async fn unsupported_tables_are_refused() {
    let cases = [
        (
            "CREATE TABLE citas (negocio_id int, fecha date, estado text) PARTITION BY RANGE (fecha)",
            "plain table",
        ),
        (
            "CREATE TABLE todas (negocio_id int, fecha date, estado text); CREATE TABLE citas () INHERITS (todas)",
            "plain table",
        ),
        (
            "CREATE VIEW citas AS SELECT 1 AS negocio_id, current_date AS fecha, '' AS estado",
            "plain table",
        ),
        (
            "CREATE TABLE citas (negocio_id int, fecha date, estado text); ALTER TABLE citas ENABLE ROW LEVEL SECURITY",
            "row security",
        ),
        (
            "CREATE TABLE citas (negocio_id int, fecha timestamptz, estado text)",
            "found timestamp with time zone and known",
        ),
        (
            "CREATE TABLE citas (negocio_id int, fecha date, estado int)",
            "found date and int4",
        ),
        (
            "CREATE TABLE citas (negocio_id int, fecha date)",
            "found date and <NULL>",
        ),
        ("SELECT 1", "no table citas"),
    ];
    let sql = include_str!("../../../sql/history/install.sql");
    for (schema, reason) in cases {
        let home = TestDatabase::create(&[]).await;
        let client = home.client().await;
        client.batch_execute(schema).await.unwrap();
        let error = client.batch_execute(sql).await.expect_err(schema);
        assert!(
            error.as_db_error().unwrap().message().contains(reason),
            "{schema}: {error:?}"
        );
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(
            count_rows(&client, "pg_namespace WHERE nspname LIKE 'latido%'").await,
            0
        );
    }
}

#[tokio::test]
async fn all_key_and_state_types_are_supported() {
    for (key, state) in [
        ("bigint", "text"),
        ("text", "varchar(20)"),
        ("int", "estado_de"),
    ] {
        let home = TestDatabase::create(&[]).await;
        let client = home.client().await;
        let schema = format!(
            "CREATE DOMAIN estado_de AS text; CREATE TABLE citas (negocio_id {key}, fecha date, estado {state});
             INSERT INTO citas SELECT 7, current_date - n, 'atendida' FROM generate_series(0, 9) AS n"
        );
        client.batch_execute(&schema).await.unwrap();
        run_file(&client, INSTALL_FILE).await;
        close_days(&client, -4).await;
        client
            .batch_execute("DELETE FROM citas WHERE fecha = current_date - 9")
            .await
            .unwrap();
        let sql = super::SUMMARY_QUERY
            .replace("$1", &format!("ARRAY[7]::{key}[]"))
            .replace("$2::pg_catalog.date[]", "ARRAY[current_date]");
        let row = client.query_one(sql.as_str(), &[]).await.unwrap();
        let numbers: Vec<i64> = (1..5).map(|column| row.get(column)).collect();
        assert_eq!(numbers, [1, 9, 9, 0], "{key}, {state}");
        assert_eq!(count_rows(&client, "latido_history.closed").await, 1);
    }
}
