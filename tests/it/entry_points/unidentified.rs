//! Socket.IO clients that do not say who they are.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{next_packet, open_socketio};
use crate::harness::{TestApp, claims, wait_until};

const MODULES: [(&str, &str); 2] = [
    ("LATIDO_APPS", "modules"),
    ("MODULES_API_KEY", "a key of this test"),
];

/// Opens a polling session and returns its address.
async fn open_polling(app: &TestApp) -> String {
    let path = "/socket.io/?EIO=4&transport=polling";
    let (status, body) = app.get(path).await;
    assert_eq!(status, 200, "{body}");
    let sid = body.split('"').nth(3).unwrap();
    format!("{path}&sid={sid}")
}

async fn post(app: &TestApp, path: &str, body: String) -> StatusCode {
    let request = app.request(Method::POST, path).body(body);
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_session_without_identity_may_send_little() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let path = open_polling(&app).await;
    assert_eq!(post(&app, &path, "40".into()).await, 200);
    assert_eq!(post(&app, &path, "x".repeat(700_000)).await, 413);
    // An event whose attachments are announced and do not come stays in memory.
    let path = open_polling(&app).await;
    assert_eq!(post(&app, &path, "40".into()).await, 200);
    let placeholders = [r#"{"_placeholder":true,"num":0}"#; 10].join(",");
    let unfinished = format!(r#"4510-["x",{placeholders}]"#);
    assert_eq!(post(&app, &path, unfinished).await, 200);
    let mut refused = None;
    for _ in 0..4 {
        let status = post(&app, &path, format!("b{}", "AAAA".repeat(5_000))).await;
        refused = (status != 200).then_some(status);
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused, Some(StatusCode::BAD_REQUEST));
    assert_eq!(app.get(&path).await.0, 400, "the session is closed");
}

/// One client opens as many sessions as it can, over one connection.
#[tokio::test(flavor = "multi_thread")]
async fn polling_sessions_of_an_address_are_limited() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let path = "/socket.io/?EIO=4&transport=polling";
    let mut refused = None;
    for _ in 0..1_500 {
        let (status, _) = app.get(path).await;
        refused = (status != 200).then_some(status);
        if refused.is_some() {
            break;
        }
    }
    assert!(
        refused.is_some_and(|status| status == 429 || status == 503),
        "{refused:?}"
    );
    let (status, _) = app.get("/health").await;
    assert_eq!(status, 200, "other requests are answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_packets_of_a_poll_count() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let path = open_polling(&app).await;
    let pings = vec!["2"; 2_000].join("\u{1e}");
    assert_eq!(post(&app, &path, pings).await, 400);
    assert_eq!(app.get(&path).await.0, 400, "the session is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_without_identity_loses_its_whole_connection() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let started = Instant::now();
    let mut silent = open_socketio(&app).await;
    let mut joined = open_socketio(&app).await;
    joined.send_raw("40".into()).await;
    next_packet(&mut joined, "40").await;
    let mut known = open_socketio(&app).await;
    let token = app.sign(&json!({"id": 7, "exp": claims::now() + 600}));
    known
        .send_raw(format!("40{}", json!({"token": token})).into())
        .await;
    next_packet(&mut known, "40").await;
    let polling = open_polling(&app).await;
    for socket in [&mut silent, &mut joined] {
        while socket
            .next_text()
            .await
            .starts_with(|c: char| c.is_ascii_digit())
        {}
    }
    assert!(started.elapsed() < Duration::from_secs(60));
    assert!(started.elapsed() > Duration::from_secs(8));
    assert_eq!(app.get(&polling).await.0, 400, "the session is closed");
    known.send_raw(r#"42["request_stats"]"#.into()).await;
    next_packet(&mut known, "42").await;
}

/// A session whose client leaves its last namespace is one without identity again.
#[tokio::test(flavor = "multi_thread")]
async fn client_that_gives_up_its_identity_may_send_little_again() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let path = open_polling(&app).await;
    let noop = |bytes: usize| format!("6{}", "x".repeat(bytes));
    let token = app.sign(&json!({"id": 7, "exp": claims::now() + 600}));
    let connect = format!("40{}", json!({"token": token}));
    assert_eq!(post(&app, &path, connect).await, 200);
    wait_until("the client is identified", async || {
        post(&app, &path, noop(100_000)).await == 200
    })
    .await;
    assert_eq!(post(&app, &path, "41".into()).await, 200);
    assert_eq!(post(&app, &path, noop(40_000)).await, 200);
    assert_eq!(post(&app, &path, noop(40_000)).await, 400, "in all 64 KiB");
    assert_eq!(app.get(&path).await.0, 400, "the session is closed");
}
