//! Keys that cannot be read although the database answers: their viewers are told, once, and nobody
//! else.

use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::harness::{B1, TestApp, TestSocket, claims, wait_until};

/// A stream that divides by a value of the key's row, and casts a text of it.
const RATIOS: &str = r#"
    [streams.ratios]
    query = '''
        SELECT u.k, r.tenth, r.amount FROM unnest($1::text[]) AS u (k)
        LEFT JOIN LATERAL (SELECT 10 / v.n AS tenth, v.amount::bigint AS amount FROM valores v WHERE v.k = u.k) r ON true'''
    event = "ratios"
    key_field = "k"
    [[streams.ratios.tables]]
    table = "valores"
    key = "k"
    columns = ["k", "n", "amount"]
"#;

const VALORES: &str = "
    CREATE TABLE valores (k text PRIMARY KEY, n int NOT NULL, amount text NOT NULL DEFAULT '1');
    INSERT INTO valores SELECT 'k' || i, 5 FROM generate_series(1, 20) i";

async fn start() -> (TestApp, Client, TestSocket, String) {
    let app = TestApp::with_streams(RATIOS, VALORES).await;
    let token = app.sign(&json!({"id": 7, "rol": "admin_sistema", "exp": claims::now() + 600}));
    let (db, socket) = (
        app.connect_database().await,
        app.connect_socket(&token).await,
    );
    (app, db, socket, token)
}

/// Returns the next frame of a channel, and asserts that no other frame comes before it.
async fn next_on(socket: &mut TestSocket, channel: &str) -> Value {
    let frame = socket.next().await;
    let named = frame["channel"]
        .as_str()
        .or(frame["data"]["channel"].as_str());
    assert_eq!(named, Some(channel), "{frame}");
    frame
}

fn assert_unavailable(frame: &Value, channel: &str) {
    assert_eq!(frame["type"], "error", "{frame}");
    let (code, named) = (&frame["data"]["code"], &frame["data"]["channel"]);
    assert_eq!((code, named), (&json!("unavailable"), &json!(channel)));
}

async fn execute(db: &Client, sql: &str) {
    db.batch_execute(sql).await.expect("a change");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_key_of_twenty_is_told_and_the_others_are_served() {
    let (_app, db, mut socket, _) = start().await;
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k7'").await;
    for n in 1..=20 {
        let name = format!("ratios:k{n}");
        socket
            .send(&json!({"type": "subscribe", "channel": name}))
            .await;
    }
    let (mut served, mut told) = (0, Vec::new());
    while served + told.len() < 20 {
        let frame = socket.next().await;
        match frame["type"].as_str().expect("a type") {
            "subscribed" => {}
            "ratios" => {
                assert_eq!(frame["data"]["tenth"], 2);
                served += 1;
            }
            _ => told.push(frame),
        }
    }
    assert_eq!(told.len(), 1);
    assert_unavailable(&told[0], "ratios:k7");
    socket.assert_quiet().await;
    execute(&db, "UPDATE valores SET n = 2 WHERE k = 'k7'").await;
    assert_eq!(next_on(&mut socket, "ratios:k7").await["data"]["tenth"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn key_that_starts_failing_says_so_once_and_repeats_equal_numbers_afterwards() {
    let (app, db, mut socket, _) = start().await;
    let first = socket.subscribe_as("ratios:k1", "ratios").await;
    socket.subscribe(&format!("estadisticas:{B1}")).await;
    for (damage, repair) in [("n = 0", "n = 5"), ("amount = 'x'", "amount = '1'")] {
        execute(&db, &format!("UPDATE valores SET {damage} WHERE k = 'k1'")).await;
        assert_unavailable(&next_on(&mut socket, "ratios:k1").await, "ratios:k1");
        // Further failures are not told again, and other channels go on.
        let failures = app.metric("latido_read_failures_total").await;
        wait_until("another failure", async || {
            app.metric("latido_read_failures_total").await > failures
        })
        .await;
        app.book(&db, B1, "pendiente", 0).await;
        next_on(&mut socket, &format!("estadisticas:{B1}")).await;
        execute(&db, &format!("UPDATE valores SET {repair} WHERE k = 'k1'")).await;
        let again = next_on(&mut socket, "ratios:k1").await;
        assert_eq!(again["data"]["tenth"], first["data"]["tenth"]);
        assert!(again["v"].as_u64() > first["v"].as_u64(), "{first} {again}");
    }
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_viewer_of_a_failing_key_is_told_at_once() {
    let (app, db, mut socket, token) = start().await;
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k1'").await;
    for _ in 0..2 {
        let told = socket.subscribe_as("ratios:k1", "error").await;
        assert_unavailable(&told, "ratios:k1");
    }
    let mut late = app.connect_socket(&token).await;
    let told = late.subscribe_as("ratios:k1", "error").await;
    assert_unavailable(&told, "ratios:k1");
    execute(&db, "UPDATE valores SET n = 1 WHERE k = 'k1'").await;
    for viewer in [&mut socket, &mut late] {
        assert_eq!(next_on(viewer, "ratios:k1").await["data"]["tenth"], 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_readers_of_a_failing_key_are_told() {
    let (app, db, _socket, token) = start().await;
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k1'").await;
    let get = |path: &str| app.request(Method::GET, path).bearer_auth(&token).send();
    for _ in 0..2 {
        let answer = get("/ratios/k1").await.expect("a response");
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "unavailable");
    }
    let answer = get("/ratios/k1/events").await.expect("a response");
    let mut events = answer.bytes_stream();
    let mut text = String::new();
    let mut until = async |end: &str| {
        while !text.contains(end) {
            let bytes = events.next().await.expect("an event").expect("bytes");
            text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
        std::mem::take(&mut text)
    };
    let told = until("\n\n").await;
    assert!(
        told.contains("event:error") && told.contains(r#""code":"unavailable""#),
        "{told}"
    );
    execute(&db, "UPDATE valores SET n = 1 WHERE k = 'k1'").await;
    let served = until("event:ratios").await;
    assert!(!served.contains("event:error"), "told once: {served}");
    let answer = get("/ratios/k1").await.expect("a response");
    assert_eq!(answer.status(), 200);
}

/// Numbers that another client has are not old ones of this client, which has none.
#[tokio::test(flavor = "multi_thread")]
async fn late_event_stream_of_a_failing_key_has_no_old_numbers() {
    let (app, db, mut socket, token) = start().await;
    socket.subscribe_as("ratios:k1", "ratios").await;
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k1'").await;
    assert_unavailable(&next_on(&mut socket, "ratios:k1").await, "ratios:k1");
    let request = app.request(Method::GET, "/events?channel=ratios:k1&channel=ratios:k2");
    let answer = request.bearer_auth(&token).send().await.expect("events");
    let mut events = answer.bytes_stream();
    let mut text = String::new();
    let mut until = async |end: &str| {
        while !text.contains(end) {
            let bytes = events.next().await.expect("an event").expect("bytes");
            text.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
        text.clone()
    };
    until("event:error").await;
    execute(&db, "UPDATE valores SET n = 1 WHERE k = 'k1'").await;
    let told = until(r#""tenth":10"#).await;
    execute(&db, "UPDATE valores SET n = 1 WHERE k = 'k2'").await;
    let all = until(r#""channel":"ratios:k2","v""#).await;
    assert!(
        !told.contains("event:status") && !all.contains("event:status"),
        "{all}"
    );
}

fn channel_status(channel: &str, data: Value) -> Value {
    json!({"type": "status", "channel": channel, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn status_names_the_channel_whose_numbers_are_old() {
    let (app, db, mut socket, token) = start().await;
    for channel in ["ratios:k1", "ratios:k2"] {
        socket.subscribe_as(channel, "ratios").await;
    }
    let before = app.clock().unix_s();
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k1'").await;
    assert_unavailable(&socket.next_frame().await, "ratios:k1");
    let status = socket.next_frame().await;
    let since = status["data"]["since"].as_i64().expect("a time");
    assert!((before..=app.clock().unix_s()).contains(&since), "{status}");
    let stale = channel_status("ratios:k1", json!({"stale": true, "since": since}));
    assert_eq!(status, stale);
    // A viewer without numbers has none that are old, and repeating the subscription tells nothing
    // new.
    let mut late = app.connect_socket(&token).await;
    for viewer in [&mut late, &mut socket] {
        viewer
            .send(&json!({"type": "subscribe", "channel": "ratios:k1"}))
            .await;
        assert_eq!(viewer.next_frame().await["type"], "subscribed");
        assert_unavailable(&viewer.next_frame().await, "ratios:k1");
    }
    execute(&db, "UPDATE valores SET n = 1 WHERE k IN ('k1', 'k2')").await;
    let mut frames = Vec::new();
    for _ in 0..3 {
        frames.push(socket.next_frame().await);
    }
    frames.retain(|frame| frame["channel"] == "ratios:k1");
    assert_eq!(frames[0]["data"]["tenth"], 10);
    let fresh = channel_status("ratios:k1", json!({"stale": false}));
    assert_eq!(frames[1..], *std::slice::from_ref(&fresh));
    assert_eq!(late.next_frame().await["data"]["tenth"], 10);
    // A client that leaves must not go on showing that its numbers are old.
    execute(&db, "UPDATE valores SET n = 0 WHERE k = 'k1'").await;
    for viewer in [&mut late, &mut socket] {
        assert_unavailable(&viewer.next_frame().await, "ratios:k1");
        assert_eq!(viewer.next_frame().await["data"]["stale"], true);
        viewer
            .send(&json!({"type": "unsubscribe", "channel": "ratios:k1"}))
            .await;
        assert_eq!(viewer.next_frame().await, fresh);
        assert_eq!(viewer.next_frame().await["type"], "unsubscribed");
    }
    assert_eq!(app.metric("latido_stale").await, 0.0);
}
