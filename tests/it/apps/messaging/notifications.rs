//! Notifications to users, by SQL and by REST.

use reqwest::Method;
use tokio_postgres::Client;

use super::*;
use crate::harness::cluster::OwnCluster;
use crate::harness::wait_until;

const KEY: &str = "the key of backends in this test";
const PATH: &str = "/messaging/api/v1/notifications";

async fn post(app: &TestApp, key: &str, body: &Value) -> (u16, Value) {
    let request = app.request(Method::POST, PATH).header("x-api-key", key);
    let answer = request.body(body.to_string()).send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap())
}

async fn notify_sql(client: &Client, user: Uuid, payload: &Value) -> Uuid {
    let sql = format!("SELECT messaging_notify('{user}', '{payload}')");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn notification_reaches_every_device_of_its_user() {
    let (app, db) = start_server(&[("MESSAGING_API_KEY", KEY)]).await;
    let mut phone = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let mut page = PhoenixTestClient::connect_at(&app, "/socket", EVA).await;
    page.join_all().await;
    let mut ana = PhoenixTestClient::connect_and_join(&app, ANA).await;
    let by_sql = json!({"title": "by SQL", "data": {"order_id": 7}});
    notify_sql(&db, EVA, &by_sql).await;
    let by_rest = json!({"title": "by REST", "tags": ["a", null], "nul": "\0"});
    let body = json!({"user_id": EVA, "notification": by_rest});
    let (status, sent) = post(&app, KEY, &body).await;
    assert_eq!((status, sent["id"].is_string()), (200, true), "{sent}");
    // A repeated request is one notification.
    let again = json!({"id": sent["id"], "user_id": EVA, "notification": by_rest});
    assert_eq!(
        post(&app, KEY, &again).await,
        (200, json!({"id": sent["id"]}))
    );
    for sql in [
        format!(
            "INSERT INTO messaging_notifications (user_id, payload) VALUES ('{EVA}', '{{\"n\": 3}}')"
        ),
        format!("BEGIN; SELECT messaging_notify('{EVA}', '{{\"n\": 4}}'); ROLLBACK"),
    ] {
        db.batch_execute(&sql).await.unwrap();
    }
    let last = json!({"n": 5});
    notify_sql(&db, EVA, &last).await;
    for device in [&mut phone, &mut page] {
        for expected in [&by_sql, &by_rest, &json!({"n": 3}), &last] {
            assert_eq!(&device.wait_for_event("notification").await, expected);
        }
    }
    notify_sql(&db, ANA, &json!({"n": 6})).await;
    assert_eq!(
        ana.wait_for_event("notification").await,
        json!({"n": 6}),
        "her first one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_notifications_are_refused() {
    let (app, db) = start_server(&[("MESSAGING_API_KEY", KEY)]).await;
    let valid = json!({"user_id": EVA, "notification": {}});
    assert_eq!(
        post(&app, "another key, which is long", &valid).await.0,
        401
    );
    let bearer = app.request(Method::POST, PATH).bearer_auth(KEY);
    let answer = bearer.body(valid.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(app.get(PATH).await.0, 405);
    for notification in [json!({"a": "x".repeat(70_000)}), json!([])] {
        let body = json!({"user_id": EVA, "notification": notification});
        let (status, answer) = post(&app, KEY, &body).await;
        assert_eq!(status, 400);
        assert!(
            answer["error"]
                .as_str()
                .unwrap()
                .starts_with("notification: expected")
        );
    }
    let (open, close) = ("[".repeat(30_000), "]".repeat(30_000));
    let deep = format!(r#"{{"user_id": "{EVA}", "notification": {{"a": {open}{close}}}}}"#);
    let deep = app.request(Method::POST, PATH).bearer_auth(KEY).body(deep);
    assert_eq!(deep.send().await.unwrap().status(), 400);
    let large = json!({"user_id": EVA, "notification": {"a": "x".repeat(600_000)}});
    assert_eq!(post(&app, KEY, &large).await.0, 413);
    for sql in [
        format!("SELECT messaging_notify('{EVA}', '[]')"),
        "SELECT messaging_notify(NULL, '{}')".to_owned(),
        format!("SELECT messaging_notify('{EVA}', jsonb_build_object('a', repeat('x', 70000)))"),
    ] {
        let error = db.batch_execute(&sql).await.expect_err(&sql);
        assert!(
            error.code().unwrap().code().starts_with("23"),
            "{sql}: {error:?}"
        );
    }
    // A database that is away is no reason to drop a notification.
    db.batch_execute("ALTER TABLE messaging_notifications RENAME TO elsewhere")
        .await
        .unwrap();
    assert_eq!(
        post(&app, KEY, &valid).await,
        (503, json!({"error": "unavailable"}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn function_gives_no_rights() {
    let cluster = OwnCluster::start(&[]).await;
    let owner = cluster.client().await;
    owner.batch_execute(SCHEMA.install_sql).await.unwrap();
    owner
        .batch_execute("CREATE ROLE backend LOGIN")
        .await
        .unwrap();
    let url = cluster.url().replacen("postgres@", "backend@", 1);
    let backend = crate::harness::cluster::connect(&url).await;
    let sql = format!("SELECT messaging_notify('{EVA}', '{{}}')");
    let refused = async || {
        let error = backend.batch_execute(&sql).await.expect_err("not granted");
        error.code().unwrap().code().to_owned()
    };
    assert_eq!(refused().await, "42501");
    let function = "GRANT EXECUTE ON FUNCTION messaging_notify TO backend";
    owner.batch_execute(function).await.unwrap();
    assert_eq!(refused().await, "42501", "the table is not granted");
    let table = "GRANT INSERT ON messaging_notifications TO backend";
    owner.batch_execute(table).await.unwrap();
    backend.batch_execute(&sql).await.unwrap();
    let log = "SELECT count(*) FROM messaging_changes WHERE kind = 'notification'";
    let count: i64 = owner.query_one(log, &[]).await.unwrap().get(0);
    assert_eq!(count, 1);
}

/// The setting that makes the queue small is one of PostgreSQL 17; older versions are not tested.
#[tokio::test(flavor = "multi_thread")]
async fn full_notification_queue_refuses_no_notification() {
    let mut cluster = OwnCluster::start(&[]).await;
    let owner = cluster.client().await;
    let small = "ALTER SYSTEM SET max_notify_queue_pages = 64";
    if owner.batch_execute(small).await.is_err() {
        return;
    }
    owner.batch_execute(SCHEMA.install_sql).await.unwrap();
    cluster.kill().await;
    cluster.restart().await;
    let (owner, culprit) = (cluster.client().await, cluster.client().await);
    for sql in ["LISTEN x", "BEGIN; SELECT 1"] {
        culprit.batch_execute(sql).await.unwrap();
    }
    let fill = "SELECT pg_notify('x', n || repeat('a', 6000)) FROM generate_series(1, 20) AS n";
    wait_until("the queue is full", async || {
        owner.batch_execute(fill).await.is_err()
    })
    .await;
    while owner.batch_execute("NOTIFY x").await.is_ok() {}
    notify_sql(&owner, EVA, &json!({"n": 1})).await;
}
