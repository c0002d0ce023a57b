//! Abusive loads, scaled down to a test machine. Existing clients must not notice them, and all
//! resources must be free afterwards.

use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{ADMIN_OF_B1, B1, TEST_TIMEOUT, TestApp, TestSocket, disable_sweep};

const CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

/// The number of invalid subscriptions. The full test sends a million; more would add nothing here.
const INVALID_SUBSCRIPTIONS: usize = 20_000;
const CLIENT_COUNT: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_invalid_subscriptions_leaves_nothing_behind() {
    let app = TestApp::with(|config| {
        (
            config.limits.messages_per_second,
            config.limits.message_burst,
        ) = (1_000_000, 1_000_000)
    })
    .await;
    let db = app.connect_database().await;
    let mut viewer = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    viewer.subscribe(CHANNEL).await;
    let flood = (0..4).map(|_| async {
        let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
        for batch in 0..INVALID_SUBSCRIPTIONS / 4 / 100 {
            for n in 0..100 {
                let name = match n % 4 {
                    0 => format!("nothing_of_the_kind:{batch}-{n}"),
                    1 => format!("estadisticas:no-uuid-{batch}-{n}"),
                    2 => "estadisticas:".to_owned(),
                    _ => format!("{}:{n}", "x".repeat(1_000)),
                };
                socket
                    .send(&json!({"type": "subscribe", "data": {"channel": name}}))
                    .await;
            }
            for _ in 0..100 {
                let code = socket.next_of_type("error").await["data"]["code"].clone();
                assert!(code == "unknown_channel" || code == "invalid_key", "{code}");
            }
        }
        socket
    });
    let changes = async {
        for total in 1..=10 {
            app.book(&db, B1, "pendiente", 0).await;
            viewer
                .stats_until(CHANNEL, |data| data["total_citas"] == total)
                .await;
        }
    };
    let (sockets, ()) = tokio::join!(join_all(flood), changes);
    assert_eq!(
        app.metric("latido_topics").await,
        1.0,
        "no topic was made for a name that means nothing"
    );
    assert_eq!(app.metric("latido_subscribers").await, 1.0);
    drop(sockets);
    app.assert_metric_settles("latido_connections", 1.0).await;
    viewer.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_disconnect_is_cleaned_up_and_others_are_served() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let token = app.token(ADMIN_OF_B1);
    let mut viewer = app.connect_socket(&token).await;
    viewer.subscribe(CHANNEL).await;
    let mut clients: Vec<TestSocket> = Vec::new();
    while clients.len() < CLIENT_COUNT {
        clients.extend(
            join_all((0..40).map(|_| async {
                let mut socket = app.connect_socket(&token).await;
                socket.subscribe(CHANNEL).await;
                socket
            }))
            .await,
        );
    }
    assert_eq!(
        app.metric("latido_subscribers").await,
        (CLIENT_COUNT + 1) as f64
    );
    let leaving = tokio::spawn(async move { drop(clients) });
    for total in 1..=10 {
        app.book(&db, B1, "pendiente", 0).await;
        viewer
            .stats_until(CHANNEL, |data| data["total_citas"] == total)
            .await;
    }
    leaving.await.unwrap();
    app.assert_metric_settles("latido_connections", 1.0).await;
    app.assert_metric_settles("latido_subscribers", 1.0).await;
    app.assert_metric_settles(
        r#"latido_closes_total{reason="client"}"#,
        CLIENT_COUNT as f64,
    )
    .await;
    viewer.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_hook_calls_needs_few_reads() {
    let app = TestApp::with(|config| {
        disable_sweep(config);
        // Reads and hooks wait for the lock below, which a busy machine may hold for long.
        config.postgres.statement_timeout = TEST_TIMEOUT;
        config.http.hook_timeout = TEST_TIMEOUT;
    })
    .await;
    let mut viewer = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    viewer.subscribe(CHANNEL).await;
    app.wait_until_settled().await;
    let before = app.metric("latido_reads_total").await;
    // No read ends before the last hook has arrived, however slowly they arrive.
    let mut db = app.connect_database().await;
    let lock = db.transaction().await.expect("BEGIN");
    lock.batch_execute("LOCK TABLE citas")
        .await
        .expect("locked");
    let hooks = (0..CLIENT_COUNT).map(|_| async {
        app.notify(&json!({"negocio_id": B1, "action": "created"}))
            .await
            .0
    });
    let release = async {
        let received = r#"latido_changes_received_total{source="hook"}"#;
        app.assert_metric_settles(received, CLIENT_COUNT as f64)
            .await;
        lock.commit().await.expect("COMMIT");
    };
    let (statuses, ()) = tokio::join!(join_all(hooks), release);
    assert_eq!(statuses, [200; CLIENT_COUNT]);
    app.wait_until_settled().await;
    let reads = app.metric("latido_reads_total").await - before;
    assert!(
        reads <= 2.0,
        "{reads} reads for {CLIENT_COUNT} hooks: one for the first, one for all others"
    );
    assert!(app.metric("latido_changes_coalesced_total").await > 0.0);
    viewer.assert_quiet().await;
}
