//! The listener: the notifications it receives, the failures it survives, and its reports when it
//! receives none.

use std::sync::Arc;
use std::time::Duration;

use latido_base::drain::Drain;
use latido_base::ident::{Key, StreamId};
use latido_base::secret::Secret;
use latido_postgres::{Config, Database, DatabaseError, ListenerState, NotificationListener};
use latido_stream::{Catalog, ChangeHint};
use latido_telemetry::Metrics;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::config::Host;

use super::pooler_proxy::{PoolerBehaviour, PoolerProxy};
use super::{A, B, builtin, connect, empty_database};
use crate::harness::cluster::OwnCluster;
use crate::harness::{ADMIN_OF_B1, B1, TEST_TIMEOUT, TempFolder, TestApp, wait_until, within};

struct TestListener {
    hints: mpsc::UnboundedReceiver<ChangeHint>,
    listener: NotificationListener,
    metrics: Arc<Metrics>,
    drain: Drain,
}

impl TestListener {
    fn open(database: &Database, catalog: &Arc<Catalog>) -> Self {
        let (tx, hints) = mpsc::unbounded_channel();
        let (metrics, drain) = (Arc::new(Metrics::new()), Drain::new());
        let listener = NotificationListener::start(
            database,
            catalog,
            &["latido_test"],
            &metrics,
            &drain,
            move |hint| drop(tx.send(hint)),
        );
        Self {
            hints,
            listener,
            metrics,
            drain,
        }
    }

    async fn next(&mut self) -> ChangeHint {
        within(self.hints.recv()).await.unwrap()
    }
}

fn changed_key(key: &str) -> ChangeHint {
    ChangeHint::Changed {
        stream: StreamId(0),
        keys: vec![Key::from_canonical(key)],
    }
}

/// Asserts that a malformed notification marks everything and does not end the connection.
async fn assert_malformed_payloads_mean_everything(
    client: &Client,
    test_listener: &mut TestListener,
) {
    for payload in [
        "",
        "no json",
        "[",
        r#"["estadisticas",null]"#,
        r#"["estadisticas","no uuid"]"#,
        r#"["otra","x"]"#,
    ] {
        client
            .execute("SELECT pg_notify('latido', $1)", &[&payload])
            .await
            .unwrap();
    }
    // A notification that arrives together with an invalid one becomes part of «everything», so it
    // is sent again until it arrives alone.
    let mut received = Vec::new();
    while received.last() != Some(&changed_key(A)) {
        let payload = format!(r#"["estadisticas","{A}"]"#);
        client
            .execute("SELECT pg_notify('latido', $1)", &[&payload])
            .await
            .unwrap();
        received.push(test_listener.next().await);
    }
    assert!(
        received.contains(&ChangeHint::Everything(None)) && !received.contains(&ChangeHint::Lost),
        "{received:?}"
    );
}

#[tokio::test]
async fn listener_receives_again_after_every_disconnect() {
    let mut cluster = OwnCluster::start(&[]).await;
    let (url, client) = (cluster.url(), cluster.client().await);
    client.batch_execute(super::SCHEMA).await.unwrap();
    let (database, catalog) = (
        Database::open(&Config {
            interest_gate: false,
            ..Config::new(&url)
        })
        .unwrap(),
        builtin(),
    );
    database.prepare(&catalog).await.unwrap();
    database.install(&catalog).await.unwrap();
    let mut test_listener = TestListener::open(&database, &catalog);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    assert_eq!(
        (
            test_listener.listener.state(),
            test_listener.metrics.listener_up.get()
        ),
        (ListenerState::Listening, 1)
    );
    client
        .batch_execute(&format!("INSERT INTO citas (negocio_id) VALUES ('{A}')"))
        .await
        .unwrap();
    assert_eq!(test_listener.next().await, changed_key(A));

    client
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    assert_eq!(test_listener.next().await, ChangeHint::Lost);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    client
        .batch_execute(&format!("INSERT INTO citas (negocio_id) VALUES ('{B}')"))
        .await
        .unwrap();
    assert_eq!(test_listener.next().await, changed_key(B));

    cluster.restart().await;
    assert_eq!(test_listener.next().await, ChangeHint::Lost);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    let client = connect(&url).await;
    assert_malformed_payloads_mean_everything(&client, &mut test_listener).await;
    assert!(test_listener.metrics.listener_reconnects.get() >= 2);
    assert_eq!(test_listener.drain.drain(TEST_TIMEOUT).await, 0);
}

#[tokio::test]
async fn listener_outlives_the_time_limit_of_idle_sessions() {
    let (_home, client, url) = empty_database().await;
    let limit = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = 700', current_database()); END $$";
    client.batch_execute(super::SCHEMA).await.unwrap();
    client.batch_execute(limit).await.unwrap();
    let (database, catalog) = (Database::open(&Config::new(&url)).unwrap(), builtin());
    database.prepare(&catalog).await.unwrap();
    let mut test_listener = TestListener::open(&database, &catalog);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    // The limit ends another session that began later and is as idle.
    let other = connect(&url).await;
    wait_until("the other session ends", async || other.is_closed()).await;
    let payload = format!(r#"["estadisticas","{A}"]"#);
    connect(&url)
        .await
        .execute("SELECT pg_notify('latido', $1)", &[&payload])
        .await
        .unwrap();
    assert_eq!(test_listener.next().await, changed_key(A));
}

/// The connection that tells writers which keys are watched is as idle.
#[tokio::test(flavor = "multi_thread")]
async fn watch_locks_outlive_the_time_limit_of_idle_sessions() {
    let first = TestApp::start().await;
    let client = first.connect_database().await;
    let limit = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET idle_session_timeout = 700', current_database()); END $$";
    client.batch_execute(limit).await.unwrap();
    // The limit is that of sessions that begin later.
    let app = first.start_second().await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket.subscribe(&format!("estadisticas:{B1}")).await;
    app.wait_until_settled().await;
    let holders = async || {
        let sql = "SELECT DISTINCT pid FROM pg_locks JOIN pg_database d ON d.oid = database AND d.datname = current_database()
            WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted ORDER BY pid";
        let rows = client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>()
    };
    let before = holders().await;
    assert_eq!(before.len(), 1);
    let other = first.connect_database().await;
    wait_until("the other session ends", async || other.is_closed()).await;
    assert_eq!(holders().await, before);
}

#[tokio::test]
async fn pooler_without_notifications_is_reported() {
    let (_home, client, url) = empty_database().await;
    client.batch_execute(super::SCHEMA).await.unwrap();
    let proxy = PoolerProxy::start(
        &url,
        PoolerBehaviour {
            refuse_options: true,
            drop_notifications: true,
            ..PoolerBehaviour::default()
        },
    )
    .await;
    let mut test_listener = TestListener::open(
        &Database::open(&Config::new(&proxy.url)).unwrap(),
        &builtin(),
    );
    assert_eq!(test_listener.next().await, ChangeHint::NotDelivering);
    assert_eq!(
        (
            test_listener.listener.state(),
            test_listener.metrics.listener_up.get()
        ),
        (ListenerState::NotDelivering, 0)
    );
    // Read through the pooler, but listen directly.
    let config = Config {
        listen_url: Some(Secret::new(url)),
        ..Config::new(&proxy.url)
    };
    let mut test_listener = TestListener::open(&Database::open(&config).unwrap(), &builtin());
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
}

#[tokio::test]
async fn different_listen_database_is_detected() {
    let ((_one, _, one), (_other, _, other)) = (empty_database().await, empty_database().await);
    let config = Config {
        listen_url: Some(Secret::new(other)),
        ..Config::new(one)
    };
    let mut test_listener = TestListener::open(&Database::open(&config).unwrap(), &builtin());
    assert_eq!(test_listener.next().await, ChangeHint::NotDelivering);
}

#[tokio::test]
async fn listener_starts_before_the_database() {
    let catalog = builtin();
    let folder = TempFolder::new();
    let late = folder.path().join("late");
    let cluster = OwnCluster::start(&[]).await;
    let server: tokio_postgres::Config = cluster.url().parse().unwrap();
    let Host::Unix(socket) = &server.get_hosts()[0] else {
        panic!("no socket: {server:?}")
    };
    let url = format!("postgresql://postgres@/latido?host={}", late.display());
    let mut test_listener =
        TestListener::open(&Database::open(&Config::new(url)).unwrap(), &catalog);
    std::os::unix::fs::symlink(socket, &late).unwrap();
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
}

#[tokio::test]
async fn frozen_backend_is_abandoned() {
    // The server's processes must be on this machine.
    let cluster = OwnCluster::start(&[]).await;
    let (client, url) = (cluster.client().await, cluster.url());
    client.batch_execute(super::SCHEMA).await.unwrap();
    let config = Config {
        statement_timeout: Duration::from_secs(1),
        pool_size: 1,
        ..Config::new(url)
    };
    let (database, catalog) = (Database::open(&config).unwrap(), builtin());
    let mut test_listener = TestListener::open(&database, &catalog);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    let others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let pids: Vec<i32> = client
        .query(others, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let signal = |name: &str| {
        let pids = pids.iter().map(ToString::to_string);
        assert!(
            std::process::Command::new("kill")
                .arg(name)
                .args(pids)
                .status()
                .unwrap()
                .success()
        );
    };
    signal("-STOP");
    assert!(
        matches!(
            database.check_connection().await,
            Err(DatabaseError::Unavailable { .. })
        ),
        "its connection is frozen"
    );
    database.check_connection().await.unwrap();
    assert_eq!(test_listener.next().await, ChangeHint::Lost);
    assert_eq!(test_listener.next().await, ChangeHint::Listening);
    signal("-CONT");
}
