//! Every entry point that a token opens ends with the token's revocation and its expiry.

use std::sync::atomic::Ordering;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{CHANNEL, next_packet, open_socketio};
use crate::access_control::TestIssuer;
use crate::harness::{ADMIN_OF_B1, B1, TestApp, TestSocket, claims, within};

const APPS: &str = "workspace,messaging,modules";
/// The secret of an app with keys of its own.
const OWN_SECRET: &str = "another secret for tests only, of more than 32 bytes";

/// The time for which tokens are valid, in seconds.
const LIFETIME_S: i64 = 600;

/// The open connections of one token each, and the events of a page that polls.
struct OpenConnections {
    /// Native connections: of a viewer, of an operator, and with an app's membership.
    native: Vec<TestSocket>,
    /// Connections of `workspace`: with a token in the address, and in a frame.
    workspace: Vec<TestSocket>,
    phoenix: TestSocket,
    /// The address of a session of `messaging` that polls.
    long_poll: String,
    /// Pages of `modules`: with a token in the handshake, and in an event.
    pages: Vec<TestSocket>,
    polling_page: String,
    events: Response,
}

fn user_claims() -> Value {
    json!({
        "id": ADMIN_OF_B1, "sub": ADMIN_OF_B1, "userId": 7, "device_id": "d",
        "workspaces": [{"workspaceId": 1, "role": "owner"}], "exp": claims::now() + LIFETIME_S
    })
}

/// Connects to `path` with a token, once the app behind it is ready.
async fn connect(app: &TestApp, path: &str, token: &str) -> TestSocket {
    let url = format!("ws://{}{path}token={token}", app.address());
    let connecting = async {
        loop {
            match TestSocket::try_connect(&url, &[]).await {
                Ok(socket) => return socket,
                Err(status) => assert_eq!(status, 503, "{path}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    within(connecting).await
}

async fn open_page(app: &TestApp, token: &str, in_event: bool) -> TestSocket {
    let mut page = open_socketio(app).await;
    let auth = json!({"token": token});
    if in_event {
        page.send_raw("40".into()).await;
        next_packet(&mut page, "40").await;
        let event = json!(["client:authenticate", auth]);
        page.send_raw(format!("42{event}").into()).await;
        next_packet(&mut page, r#"42["client:auth:success""#).await;
    } else {
        page.send_raw(format!("40{auth}").into()).await;
        next_packet(&mut page, "40").await;
    }
    page.send_raw(r#"42["request_stats"]"#.into()).await;
    next_packet(&mut page, r#"42["simple_stats_update""#).await;
    page
}

/// Opens a page that polls, and returns the address of its session.
async fn open_polling_page(app: &TestApp, token: &str) -> String {
    let path = "/socket.io/?EIO=4&transport=polling";
    let (status, body) = app.get(path).await;
    assert_eq!(status, 200, "{body}");
    let path = format!("{path}&sid={}", body.split('"').nth(3).unwrap());
    let connect = format!("40{}", json!({"token": token}));
    let request = app.request(Method::POST, &path).body(connect);
    assert_eq!(request.send().await.unwrap().status(), 200);
    path
}

/// Polls until the session ends, and returns all packets.
async fn poll_to_the_end(app: &TestApp, path: &str) -> String {
    let mut packets = String::new();
    loop {
        let (status, body) = within(app.get(path)).await;
        if status != 200 {
            return packets;
        }
        if body.split('\u{1e}').any(|packet| packet == "2") {
            let pong = app.request(Method::POST, path).body("3");
            let _ = pong.send().await;
        }
        packets.push_str(&body);
    }
}

/// Polls once, and returns the status and the session's token.
async fn poll_phoenix(app: &TestApp, address: &str) -> (Value, Value) {
    let request = app.request(Method::GET, address);
    let answer = within(request.send()).await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    (answer["status"].clone(), answer["token"].clone())
}

/// Opens a session of `messaging` that polls, once the app is ready. Returns its address.
async fn open_long_poll(app: &TestApp, token: &str) -> String {
    let address = format!("/socket/longpoll?vsn=2.0.0&token={token}");
    loop {
        let (status, session) = poll_phoenix(app, &address).await;
        if status == 410 {
            return format!("{address}&token={}", session.as_str().unwrap());
        }
        assert_eq!(status, 500);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn open_all(app: &TestApp, modules_token: &str) -> OpenConnections {
    let plain = app.sign(&json!({"id": ADMIN_OF_B1, "exp": claims::now() + LIFETIME_S}));
    let operator = json!({"id": 1, "rol": "admin_sistema", "exp": claims::now() + LIFETIME_S});
    let token = app.sign(&user_claims());
    let auth = json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token});
    let mut native = app.connect_socket(&plain).await;
    native.subscribe(CHANNEL).await;
    let mut watching = app.connect_socket(&app.sign(&operator)).await;
    watching.subscribe_as("latido:servidor", "server").await;
    // A token that grants an app's membership on a connection of the streams, whose own token is
    // checked apart.
    let mut in_band = app.connect_socket(&plain).await;
    in_band.send(&auth).await;
    in_band.next_of_type("auth_success").await;
    let mut anonymous = TestSocket::try_connect(&app.ws_url(), &[]).await.unwrap();
    anonymous.send(&auth).await;
    anonymous.next_of_type("auth_success").await;
    let events = app
        .request(Method::GET, &format!("/estadisticas/{B1}/events"))
        .bearer_auth(&plain)
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    OpenConnections {
        native: vec![native, watching, in_band],
        workspace: vec![connect(app, "/ws?", &token).await, anonymous],
        phoenix: connect(app, "/socket/websocket?vsn=2.0.0&", &token).await,
        long_poll: open_long_poll(app, &token).await,
        pages: vec![
            open_page(app, modules_token, false).await,
            open_page(app, modules_token, true).await,
        ],
        polling_page: open_polling_page(app, modules_token).await,
        events,
    }
}

impl OpenConnections {
    /// Asserts that all of them end. `text` is the reason that pages get.
    async fn assert_end(mut self, app: &TestApp, text: &str) {
        for socket in self.native.iter_mut().chain(&mut self.workspace) {
            assert_eq!(socket.wait_for_close_code().await, Some(4401));
        }
        assert_eq!(self.phoenix.wait_for_close_code().await, Some(4001));
        while !matches!(
            poll_phoenix(app, &self.long_poll).await.0.as_u64(),
            Some(403)
        ) {}
        within(self.events.bytes()).await.unwrap();
        for page in &mut self.pages {
            let last = next_packet(page, r#"42["client:auth:error""#).await;
            assert!(last.contains(text), "{last}");
            next_packet(page, "41").await;
        }
        let packets = poll_to_the_end(app, &self.polling_page).await;
        assert!(packets.contains(text), "{packets}");
    }
}

/// Returns the settings of a server whose tokens `issuer` can revoke.
fn settings<'a>(
    issuer: &'a TestIssuer,
    own_secret: Option<&'static str>,
) -> Vec<(&'static str, &'a str)> {
    let mut variables = vec![
        ("LATIDO_APPS", APPS),
        ("WORKSPACE_API_KEY", "the long key of this test"),
        ("MODULES_API_KEY", "a key of this test"),
        ("JWT_INTROSPECTION_URL", issuer.url.as_str()),
        ("JWT_INTROSPECTION_SECONDS", "1"),
    ];
    variables.extend(own_secret.map(|secret| ("MODULES_JWT_SECRET", secret)));
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_ends_every_connection_that_it_opened() {
    let issuer = TestIssuer::start().await;
    for own_secret in [None, Some(OWN_SECRET)] {
        issuer.valid.store(true, Ordering::SeqCst);
        let app = TestApp::with_settings(&settings(&issuer, own_secret), |_| {}).await;
        let modules_token = claims::sign_with(own_secret.unwrap_or(claims::SECRET), &user_claims());
        let open = open_all(&app, &modules_token).await;
        issuer.valid.store(false, Ordering::SeqCst);
        open.assert_end(&app, "Token revoked").await;
        for path in ["/ws?", "/socket/websocket?vsn=2.0.0&"] {
            let token = app.sign(&user_claims());
            let url = format!("ws://{}{path}token={token}", app.address());
            let refused = TestSocket::try_connect(&url, &[]).await.err();
            assert!(matches!(refused, Some(401 | 403)), "{path} {refused:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_token_ends_every_connection_that_it_opened() {
    let issuer = TestIssuer::start().await;
    for own_secret in [None, Some(OWN_SECRET)] {
        let app = TestApp::with_settings(&settings(&issuer, own_secret), |_| {}).await;
        let modules_token = claims::sign_with(own_secret.unwrap_or(claims::SECRET), &user_claims());
        let open = open_all(&app, &modules_token).await;
        let end = jiff::SignedDuration::from_secs(LIFETIME_S + 60);
        app.clock().set(app.clock().now() + end);
        open.assert_end(&app, "Token expired").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_client_ends_when_the_api_refuses_its_token() {
    let issuer = TestIssuer::start().await;
    let api = issuer.url.trim_end_matches("/introspect").to_owned();
    let variables = [
        ("LATIDO_APPS", "gateway"),
        ("GATEWAY_PORT", "0"),
        ("GATEWAY_API_URL", api.as_str()),
        ("GATEWAY_API_KEY", "the long key of this test"),
        ("GATEWAY_API_CACHE_SECONDS", "1"),
    ];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        app.app_address("gateway")
    );
    let mut socket = TestSocket::try_connect(&url, &[]).await.unwrap();
    socket.send_raw("40".into()).await;
    next_packet(&mut socket, "40").await;
    socket
        .send_raw(r#"42["authenticate",{"token":"t","userId":1,"role":"cliente"}]"#.into())
        .await;
    next_packet(&mut socket, r#"42["auth_success""#).await;
    issuer.valid.store(false, Ordering::SeqCst);
    next_packet(&mut socket, r#"42["auth_error""#).await;
    next_packet(&mut socket, "41").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn membership_of_a_workspace_ends_with_the_token_that_opened_it_in_band() {
    let issuer = TestIssuer::start().await;
    let variables = [
        ("LATIDO_APPS", "workspace"),
        ("WORKSPACE_API_KEY", "the long key of this test"),
        ("JWT_INTROSPECTION_URL", issuer.url.as_str()),
        ("JWT_INTROSPECTION_SECONDS", "1"),
    ];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let token = app.sign(&user_claims());
    let auth = json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token});
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket.send(&auth).await;
    socket.next_of_type("auth_success").await;
    issuer.revoked.lock().unwrap().push(token);
    assert_eq!(socket.wait_for_close_code().await, Some(4401));
    let mut other = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    other.assert_quiet().await;
}
