//! Installing, inspecting and removing triggers.

use std::sync::Arc;

use latido_base::ident::StreamId;
use latido_postgres::{Config, Database, InstallChange, InstallError, TriggerState};
use latido_stream::{Catalog, Stream};

use super::triggers::NotificationTap;
use super::{builtin, catalog, connect, empty_database, estadisticas, schema_database, table};
use crate::harness::cluster::OwnCluster;

#[tokio::test]
async fn installing_twice_equals_once_and_uninstalling_leaves_nothing() {
    let (_home, client, database) = schema_database().await;
    let catalog = builtin();
    assert_eq!(
        database
            .triggers(&catalog)
            .await
            .unwrap()
            .stream_state(StreamId(0)),
        TriggerState::Missing
    );
    let name = r#""public"."citas" for stream estadisticas"#.to_owned();
    assert_eq!(
        database.install(&catalog).await.unwrap(),
        [InstallChange::Installed(name.clone())]
    );
    assert!(database.triggers(&catalog).await.unwrap().are_current());
    assert_eq!(
        database.install(&catalog).await.unwrap(),
        [InstallChange::Unchanged(name)]
    );

    client
        .batch_execute("ALTER TABLE citas DISABLE TRIGGER ALL")
        .await
        .unwrap();
    assert_eq!(
        database
            .triggers(&catalog)
            .await
            .unwrap()
            .stream_state(StreamId(0)),
        TriggerState::Outdated
    );
    database.install(&catalog).await.unwrap();
    assert!(database.triggers(&catalog).await.unwrap().are_current());

    let objects = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'latido') + (SELECT count(*) FROM pg_trigger)
                        + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'latido')";
    let count = async || {
        client
            .query_one(objects, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };
    assert_eq!(count().await, 1 + 4 + 2);
    database.uninstall(&[]).await.unwrap();
    assert_eq!(count().await, 0);
    assert_eq!(database.uninstall(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn dry_run_prints_the_exact_script() {
    let (_home, client, database) = schema_database().await;
    let script = database.install_sql(&builtin()).await.unwrap();
    client.batch_execute(&script).await.unwrap();
    assert!(database.triggers(&builtin()).await.unwrap().are_current());
}

#[tokio::test]
async fn triggers_of_dropped_streams_are_removed_and_foreign_ones_stay() {
    let (_home, client, database) = schema_database().await;
    let tables = vec![
        table("citas", Some("negocio_id"), &[]),
        table("negocios", Some("id"), &["estado"]),
    ];
    database.install(&catalog(tables)).await.unwrap();
    client
        .batch_execute("CREATE TABLE latido.ours (id int)")
        .await
        .unwrap();
    let fewer = catalog(vec![table("citas", Some("negocio_id"), &[])]);
    assert_eq!(
        database
            .triggers(&fewer)
            .await
            .unwrap()
            .unused_functions
            .len(),
        1
    );
    let changes = database.install(&fewer).await.unwrap();
    assert_eq!(
        changes[0],
        InstallChange::Removed(r#""public"."negocios""#.to_owned())
    );
    assert!(
        database
            .triggers(&fewer)
            .await
            .unwrap()
            .unused_functions
            .is_empty()
    );
    database.uninstall(&[]).await.unwrap();
    client
        .batch_execute("SELECT * FROM latido.ours")
        .await
        .unwrap();
}

#[tokio::test]
async fn all_table_mistakes_are_reported_together() {
    let (_home, client, database) = schema_database().await;
    client
        .batch_execute("CREATE VIEW vista AS SELECT * FROM citas; ALTER TABLE citas ADD hora time")
        .await
        .unwrap();
    let tables = vec![
        table("nada", Some("id"), &[]),
        table("vista", Some("negocio_id"), &[]),
        table("citas", Some("negocio"), &["fecha", "estadoo"]),
        table("citas", Some("hora"), &[]),
    ];
    let error = database.install(&catalog(tables)).await.unwrap_err();
    let InstallError::UnsupportedTables(mistakes) = error else {
        panic!("{error}")
    };
    let expected = [
        "no table nada",
        "vista is a view",
        "no column negocio, estadoo",
        "the key hora of table citas is time",
    ];
    for (mistake, expected) in mistakes.iter().zip(expected) {
        let mistake = mistake.to_string();
        assert!(
            mistake.contains(expected) && mistake.contains("stream estadisticas"),
            "{mistake}"
        );
    }
    assert_eq!(mistakes.len(), 4);
}

#[tokio::test]
async fn hostile_names_are_quoted() {
    let (home, client, url) = empty_database().await;
    let (schema, name, key) = (
        r#"Mi "Esquema""#,
        r#"ci'tas"; DROP TABLE x; --$latido$ \"#,
        "Ñegocio ID\n--",
    );
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let place = format!("{}.{}", quoted(schema), quoted(name));
    let sql = format!(
        "CREATE SCHEMA {}; CREATE TABLE {place} ({} text, latido_keys int, key int, d int)",
        quoted(schema),
        quoted(key)
    );
    client.batch_execute(&sql).await.unwrap();
    let database = Database::open(&Config {
        interest_gate: false,
        ..Config::new(&url)
    })
    .unwrap();
    let tables = vec![table(
        &format!("{schema}.{name}"),
        Some(key),
        &[key, "latido_keys", "key"],
    )];
    let catalog = Arc::new(Catalog::new(vec![Stream {
        name: r#"a'b\"c$latido$"#.to_owned(),
        tables,
        ..estadisticas()
    }]));
    database.install(&catalog).await.unwrap();
    assert!(database.triggers(&catalog).await.unwrap().are_current());
    let mut tap = NotificationTap::open(client, &home).await;
    let payloads = tap
        .payloads(&format!(
            "INSERT INTO {place} VALUES (E'k\\'\"\\\\', 1, 2, 3)"
        ))
        .await;
    let items: Vec<String> = serde_json::from_str(&payloads[0]).unwrap();
    assert_eq!(items, [r#"a'b\"c$latido$"#, r#"k'"\"#]);
    assert_eq!(
        tap.payloads(&format!("UPDATE {place} SET key = 7"))
            .await
            .len(),
        1
    );
    database.uninstall(&[]).await.unwrap();
    connect(&url)
        .await
        .batch_execute(&format!("SELECT FROM {place}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn unquoted_names_are_resolved_like_in_sql() {
    let (_home, client, database) = schema_database().await;
    client
        .batch_execute("CREATE TABLE \"Pedidos\" (\"negocioId\" bigint)")
        .await
        .unwrap();
    for name in ["Citas", "public.CITAS", "\"citas\"", "public.\"citas\""] {
        database
            .install_sql(&catalog(vec![table(name, Some("NEGOCIO_ID"), &[])]))
            .await
            .unwrap();
    }
    for name in ["Pedidos", "public.Pedidos", "\"Pedidos\""] {
        database
            .install_sql(&catalog(vec![table(name, Some("negocioId"), &[])]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn locked_table_is_reported_and_nothing_changes() {
    let (_home, client, database) = schema_database().await;
    client
        .batch_execute("BEGIN; INSERT INTO citas DEFAULT VALUES")
        .await
        .unwrap();
    let error = database.install(&builtin()).await.unwrap_err();
    assert!(
        matches!(&error, InstallError::Locked { subject } if subject == r#""public"."citas""#),
        "{error}"
    );
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(
        database
            .triggers(&builtin())
            .await
            .unwrap()
            .stream_state(StreamId(0)),
        TriggerState::Missing
    );
}

#[tokio::test]
async fn error_names_the_missing_privilege() {
    // Roles belong to the cluster, not to a database.
    let cluster = OwnCluster::start(&[]).await;
    let (client, url) = (cluster.client().await, cluster.url());
    client.batch_execute(super::SCHEMA).await.unwrap();
    client
        .batch_execute(
            "CREATE ROLE reader LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
        )
        .await
        .unwrap();
    let database = Database::open(&Config::new(url.replace("postgres@", "reader@"))).unwrap();
    let error = database.install(&builtin()).await.unwrap_err();
    assert!(
        matches!(error, InstallError::PermissionDenied { .. }),
        "{error}"
    );
    database.prepare(&builtin()).await.unwrap();
}

/// The gate uses a hash of bytes, which differ in another encoding. Writers that always notify work
/// in any encoding.
#[tokio::test]
async fn database_in_another_encoding_has_no_gate() {
    let cluster = OwnCluster::start(&[]).await;
    let client = cluster.client().await;
    let create =
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'";
    client.batch_execute(create).await.unwrap();
    let url = cluster.url().replace("/latido?", "/latin?");
    connect(&url)
        .await
        .batch_execute(super::SCHEMA)
        .await
        .unwrap();
    for (url, gated) in [(url, false), (cluster.url(), true)] {
        connect(&url)
            .await
            .batch_execute(
                "CREATE TABLE IF NOT EXISTS citas (negocio_id uuid, fecha date, estado text)",
            )
            .await
            .unwrap();
        let database = Database::open(&Config::new(url)).unwrap();
        let sql = database.install_sql(&builtin()).await.unwrap();
        assert_eq!(sql.contains("pg_try_advisory_xact_lock"), gated);
        database.install(&builtin()).await.unwrap();
        assert!(database.triggers(&builtin()).await.unwrap().are_current());
    }
}

/// Earlier versions sent from a function of another name.
#[tokio::test]
async fn shared_function_of_an_earlier_version_is_removed() {
    let (_home, client, database) = schema_database().await;
    database.install(&builtin()).await.unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION latido.changed(latido_stream text, latido_keys text[]) RETURNS void LANGUAGE sql AS '';
             COMMENT ON FUNCTION latido.changed(text, text[]) IS 'latido: sends what changed; sha256:00'",
        )
        .await
        .unwrap();
    let changes = database.install(&builtin()).await.unwrap();
    let removed = InstallChange::Removed(r#"function "latido"."changed""#.to_owned());
    assert!(changes.contains(&removed), "{changes:?}");
}
