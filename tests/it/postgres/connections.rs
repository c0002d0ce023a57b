//! Connections that fail, are slow, or lead through a pooler, and the options of the URL.

use std::time::Duration;

use latido_base::ident::UserId;
use latido_postgres::{Config, Database, DatabaseError};
use latido_stream::Stream;

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::reading::{ZEROS, keys, plain, read};
use super::{A, builtin, empty_database, estadisticas, schema_database};
use crate::harness::cluster::OwnCluster;
use crate::harness::{TEST_TIMEOUT, wait_until};

/// Returns a URL with additional parameters.
fn with_parameters(url: &str, parameters: &str) -> String {
    format!(
        "{url}{}{parameters}",
        if url.contains('?') { '&' } else { '?' }
    )
}

#[tokio::test]
async fn dead_connections_are_not_reported_as_database_failures() {
    let mut cluster = OwnCluster::start(&[]).await;
    let (url, client) = (cluster.url(), cluster.client().await);
    client.batch_execute(super::SCHEMA).await.unwrap();
    let (database, catalog) = (Database::open(&Config::new(&url)).unwrap(), builtin());
    read(&database, &catalog, &[A]).await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'latido'";
    for _ in 0..5 {
        client.batch_execute(kill).await.unwrap();
        read(&database, &catalog, &[A]).await.unwrap();
    }
    cluster.restart().await;
    read(&database, &catalog, &[A]).await.unwrap();
    database.check_connection().await.unwrap();
    drop(cluster);
    assert!(matches!(
        read(&database, &catalog, &[A]).await,
        Err(DatabaseError::Unavailable { .. })
    ));
    assert!(matches!(
        database.check_connection().await,
        Err(DatabaseError::Unavailable { .. })
    ));
}

/// Slow permission queries must not block reads, however many are requested.
#[tokio::test]
async fn slow_permission_queries_leave_connections_for_reads() {
    let (home, client, _) = schema_database().await;
    let config = Config {
        statement_timeout: TEST_TIMEOUT,
        pool_size: 4,
        ..Config::new(home.url())
    };
    let database = Database::open(&config).unwrap();
    client
        .batch_execute("SELECT pg_advisory_lock(77)")
        .await
        .unwrap();
    let sql = "SELECT k FROM unnest($2::text[]) AS k, pg_advisory_xact_lock_shared(77) WHERE $1::text <> ''";
    let asking: Vec<_> = (0..20)
        .map(|n| {
            let stream = Stream {
                authorize_query: Some(sql.into()),
                ..estadisticas()
            };
            let database = database.clone();
            tokio::spawn(async move {
                database
                    .allowed_keys(&stream, &UserId::new(&n.to_string()), &keys(&[A]))
                    .await
            })
        })
        .collect();
    let waiting =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted";
    wait_until("two queries wait", async || {
        let row = client.query_one(waiting, &[]).await.unwrap();
        row.get::<_, i64>(0) >= 2
    })
    .await;
    assert_eq!(read(&database, &builtin(), &[A]).await.unwrap().len(), 1);
    assert!(
        asking.iter().all(|task| !task.is_finished()),
        "and no permission has come by then"
    );
    client
        .batch_execute("SELECT pg_advisory_unlock(77)")
        .await
        .unwrap();
    for task in asking {
        assert_eq!(task.await.unwrap().unwrap(), keys(&[A]));
    }
}

#[tokio::test]
async fn slow_statements_time_out_and_free_their_connection() {
    let (_home, client, url) = empty_database().await;
    let config = Config {
        statement_timeout: Duration::from_secs(1),
        pool_size: 1,
        ..Config::new(url)
    };
    let database = Database::open(&config).unwrap();
    let slow = plain(
        "slow",
        "SELECT k, pg_sleep(60)::text AS s FROM unnest($1::int[]) AS u (k)",
    );
    let error = read(&database, &slow, &["1"]).await.unwrap_err();
    // The database responds; only the statement fails.
    assert!(matches!(error, DatabaseError::Rejected { .. }), "{error}");
    // A cancelled request must not make the next one wait for its response.
    let abandoned =
        tokio::time::timeout(Duration::from_millis(50), read(&database, &slow, &["1"])).await;
    assert!(abandoned.is_err());
    database.check_connection().await.unwrap();
    drop(client);
}

#[tokio::test]
async fn poolers_are_detected_by_their_behaviour() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(super::SCHEMA).await.unwrap();
    for manners in [
        PoolerBehaviour {
            refuse_options: true,
            ..PoolerBehaviour::default()
        },
        PoolerBehaviour {
            drop_options: true,
            ..PoolerBehaviour::default()
        },
        PoolerBehaviour {
            lose_statements: true,
            ..PoolerBehaviour::default()
        },
    ] {
        let proxy = PoolerProxy::start(&url, manners).await;
        let (database, catalog) = (Database::open(&Config::new(&proxy.url)).unwrap(), builtin());
        for _ in 0..3 {
            let rows = read(&database, &catalog, &[A]).await.unwrap();
            assert_eq!(rows[0].columns, ZEROS);
        }
        assert!(database.is_pooled(), "{manners:?}");
        let error = read(
            &database,
            &plain("x", "SELECT k, 1/0 AS n FROM unnest($1::int[]) AS u (k)"),
            &["1"],
        )
        .await
        .unwrap_err();
        assert!(
            matches!(&error, DatabaseError::Rejected { sqlstate, .. } if sqlstate == "22012"),
            "{error}"
        );
        database.check_connection().await.unwrap();
    }
    let direct = Database::open(&Config::new(&url)).unwrap();
    direct.check_connection().await.unwrap();
    assert!(!direct.is_pooled());
}

#[tokio::test]
async fn session_options_of_the_url_are_applied() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(
            "CREATE SCHEMA app; CREATE TABLE app.t (k int, n int); INSERT INTO app.t VALUES (1, 2)",
        )
        .await
        .unwrap();
    client.batch_execute("CREATE SEQUENCE app.s").await.unwrap();
    let proxy = PoolerProxy::start(
        &url,
        PoolerBehaviour {
            drop_options: true,
            ..PoolerBehaviour::default()
        },
    )
    .await;
    for url in [
        with_parameters(&url, "schema=app&target_session_attrs=read-write"),
        with_parameters(&proxy.url, "schema=app"),
    ] {
        let database = Database::open(&Config::new(url)).unwrap();
        let rows = read(
            &database,
            &plain("t", "SELECT k, n FROM t WHERE k = ANY ($1)"),
            &["1"],
        )
        .await
        .unwrap();
        assert_eq!(rows[0].columns, r#"{"n":2}"#);
        let writing = plain(
            "w",
            "SELECT k, nextval('s') AS n FROM unnest($1::int[]) AS u (k)",
        );
        assert!(
            matches!(
                read(&database, &writing, &["1"]).await,
                Err(DatabaseError::Rejected { .. })
            ),
            "reads only"
        );
        database
            .install_sql(&super::catalog(vec![super::table("t", Some("k"), &["n"])]))
            .await
            .unwrap();
    }
}

/// The names that other drivers have for a session's options.
#[tokio::test]
async fn options_in_the_words_of_other_drivers_are_applied() {
    let (_home, client, url) = empty_database().await;
    client
        .batch_execute(
            "CREATE SCHEMA app; CREATE TABLE app.t (k int); INSERT INTO app.t VALUES (1)",
        )
        .await
        .unwrap();
    let behaviour = PoolerBehaviour {
        drop_options: true,
        ..PoolerBehaviour::default()
    };
    let proxy = PoolerProxy::start(&url, behaviour).await;
    for url in [&url, &proxy.url] {
        let jdbc = "currentSchema=app,public&ApplicationName=panel&statement_timeout=400";
        let database = Database::open(&Config::new(with_parameters(url, jdbc))).unwrap();
        let of_session = plain(
            "t",
            "SELECT k, current_setting('application_name') AS name, current_setting('statement_timeout') AS limit
               FROM t WHERE k = ANY ($1)",
        );
        let rows = read(&database, &of_session, &["1"]).await.unwrap();
        assert_eq!(rows[0].columns, r#"{"name":"panel","limit":"400ms"}"#);
    }
}
