//! Invalid tokens that are costly to check count by address, together at all entry points.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{next_packet, open_socketio};
use crate::harness::{ADMIN_OF_B1, TestApp, TestSocket, within};
use latido_auth::test_keys;

/// A token that names an algorithm and no key, with a signature as long as that of a key. `workspace`
/// claims it by its payload.
fn costly_token() -> String {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let payload = json!({"sub": ADMIN_OF_B1, "workspaces": []}).to_string();
    let signature = "A".repeat(342);
    format!(
        "{}.{}.{signature}",
        encode(r#"{"alg":"RS256"}"#),
        encode(&payload)
    )
}

async fn start() -> TestApp {
    let keys = [&test_keys::RSA, &test_keys::OTHER_RSA]
        .map(|pair| pair.public)
        .join("\n");
    let variables = [
        ("LATIDO_APPS", "workspace,messaging,modules"),
        ("WORKSPACE_API_KEY", "the long key of this test"),
        ("MODULES_API_KEY", "the long key of this test"),
        ("JWT_PUBLIC_KEY", keys.as_str()),
        // An app with keys of its own has a verifier of its own.
        ("MESSAGING_JWT_PUBLIC_KEY", keys.as_str()),
    ];
    TestApp::with_settings(&variables, |_| {}).await
}

async fn upgrade_status(app: &TestApp, path: &str, token: &str) -> u16 {
    let url = format!("ws://{}{path}token={token}", app.address());
    TestSocket::try_connect(&url, &[])
        .await
        .err()
        .unwrap_or(101)
}

async fn get_status(app: &TestApp, path: &str, token: &str) -> u16 {
    let request = app.request(Method::GET, path).bearer_auth(token);
    within(request.send()).await.unwrap().status().as_u16()
}

/// Returns the answer to a token in the handshake of a page, or in its event.
async fn page_answer(app: &TestApp, token: &str, is_event: bool) -> String {
    let mut page = open_socketio(app).await;
    let auth = json!({"token": token});
    if is_event {
        page.send_raw("40".into()).await;
        next_packet(&mut page, "40").await;
        let event = json!(["client:authenticate", auth]);
        page.send_raw(format!("42{event}").into()).await;
    } else {
        page.send_raw(format!("40{auth}").into()).await;
        next_packet(&mut page, "40").await;
    }
    next_packet(&mut page, "42").await
}

/// Sends tokens until the answer is that of an address with too many invalid ones. Two are checked
/// in each second.
async fn assert_limited(door: &str, expected: &str, mut send: impl AsyncFnMut() -> String) {
    let mut last = String::new();
    for _ in 0..40 {
        last = send().await;
        if last.contains(expected) {
            return;
        }
    }
    panic!("{door}: {last}, not {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_invalid_tokens_of_an_address_are_limited_at_every_entry_point() {
    let (app, token) = (start().await, costly_token());
    assert_eq!(get_status(&app, "/estadisticas/7", &token).await, 401);
    for (path, status) in [
        ("/estadisticas/7", "429"),
        ("/estadisticas/7/events", "429"),
        ("/dashboard/stats", "429"),
        ("/api/modules/stats", "503"),
    ] {
        assert_limited(path, status, async || {
            get_status(&app, path, &token).await.to_string()
        })
        .await;
    }
    for path in ["/ws?", "/socket/websocket?vsn=2.0.0&"] {
        assert_limited(path, "503", async || {
            upgrade_status(&app, path, &token).await.to_string()
        })
        .await;
    }
    assert_limited("workspace in band", "1013", async || {
        let mut socket = TestSocket::try_connect(&app.ws_url(), &[]).await.unwrap();
        let auth = json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token});
        socket.send(&auth).await;
        format!("{:?}", socket.wait_for_close_code().await)
    })
    .await;
    for is_event in [false, true] {
        assert_limited("page", "can't be found out now", async || {
            page_answer(&app, &token, is_event).await
        })
        .await;
    }
}

/// An app with keys of its own counts together with the server.
#[tokio::test(flavor = "multi_thread")]
async fn costly_invalid_tokens_of_an_address_count_together_at_all_entry_points() {
    let (app, token) = (start().await, costly_token());
    let flood = (0..40).map(|_| get_status(&app, "/estadisticas/7", &token));
    let statuses = join_all(flood).await;
    assert!(statuses.contains(&429), "{statuses:?}");
    let path = "/socket/websocket?vsn=2.0.0&";
    let flood = (0..40).map(|_| upgrade_status(&app, path, &token));
    let checked = join_all(flood).await;
    let checked = checked.iter().filter(|status| **status == 403).count();
    assert!(checked < 16, "{checked} were checked apart");
}

/// A connected client has a limit of its own: its address may be a proxy's.
#[tokio::test(flavor = "multi_thread")]
async fn costly_invalid_tokens_of_a_connected_user_are_limited() {
    let app = start().await;
    let invalid = json!({"type": "auth", "data": {"token": costly_token()}});
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let mut messages = Vec::new();
    for _ in 0..60 {
        socket.send_raw(Message::text(invalid.to_string())).await;
        let answer = socket.next_of_type("error").await;
        messages.push(answer["data"]["message"].to_string());
        if messages.last() != messages.first() {
            break;
        }
    }
    let last = messages.last().unwrap();
    assert!(last.contains("too many invalid tokens"), "{messages:?}");
    assert!(messages.len() > 10, "a few are checked: {messages:?}");
    let other = upgrade_status(&app, "/ws?", &app.token(ADMIN_OF_B1)).await;
    assert_eq!(other, 101, "another kind of token is checked");
}
