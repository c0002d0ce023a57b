//! Every entry point that a token opens ends with the token's revocation.

use std::sync::atomic::Ordering;

use reqwest::{Method, Response};
use serde_json::json;

use super::{CHANNEL, next_packet, open_socketio};
use crate::access_control::TestIssuer;
use crate::harness::{ADMIN_OF_B1, B1, TestApp, TestSocket, claims, within};

const APPS: &str = "workspace,messaging,modules";
/// The secret of an app with keys of its own.
const OWN_SECRET: &str = "another secret for tests only, of more than 32 bytes";

/// The open connections of one token each.
struct OpenConnections {
    native: TestSocket,
    in_band: TestSocket,
    workspace: TestSocket,
    phoenix: TestSocket,
    page: TestSocket,
    events: Response,
}

fn user_claims() -> serde_json::Value {
    json!({
        "id": ADMIN_OF_B1, "sub": ADMIN_OF_B1, "userId": 7, "device_id": "d",
        "workspaces": [{"workspaceId": 1, "role": "owner"}], "exp": claims::now() + 600
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

async fn open_page(app: &TestApp, token: &str) -> TestSocket {
    let mut page = open_socketio(app).await;
    page.send_raw(format!("40{}", json!({"token": token})).into())
        .await;
    next_packet(&mut page, "40").await;
    page.send_raw(r#"42["request_stats"]"#.into()).await;
    next_packet(&mut page, "42").await;
    page
}

async fn open_all(app: &TestApp, modules_token: &str) -> OpenConnections {
    let plain = app.token(ADMIN_OF_B1);
    let token = app.sign(&user_claims());
    let auth = json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token});
    let mut native = app.connect_socket(&plain).await;
    native.subscribe(CHANNEL).await;
    // A token that grants an app's membership on a connection of the streams, whose own token is
    // checked apart.
    let mut in_band = app.connect_socket(&plain).await;
    in_band.send(&auth).await;
    in_band.next_of_type("auth_success").await;
    let workspace = connect(app, "/ws?", &token).await;
    let phoenix = connect(app, "/socket/websocket?vsn=2.0.0&", &token).await;
    let events = app
        .request(Method::GET, &format!("/estadisticas/{B1}/events"))
        .bearer_auth(&plain)
        .send()
        .await
        .unwrap();
    assert_eq!(events.status(), 200);
    OpenConnections {
        native,
        in_band,
        workspace,
        phoenix,
        page: open_page(app, modules_token).await,
        events,
    }
}

impl OpenConnections {
    /// Asserts that all of them end.
    async fn assert_end(mut self) {
        assert_eq!(self.native.wait_for_close_code().await, Some(4401));
        assert_eq!(self.in_band.wait_for_close_code().await, Some(4401));
        assert_eq!(self.workspace.wait_for_close_code().await, Some(4401));
        assert_eq!(self.phoenix.wait_for_close_code().await, Some(4001));
        within(self.events.bytes()).await.unwrap();
        let last = next_packet(&mut self.page, r#"42["client:auth:error""#).await;
        assert!(last.contains("Token revoked"), "{last}");
        next_packet(&mut self.page, "41").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_token_ends_every_connection_that_it_opened() {
    let issuer = TestIssuer::start().await;
    for own_secret in [None, Some(OWN_SECRET)] {
        issuer.valid.store(true, Ordering::SeqCst);
        let mut variables = vec![
            ("LATIDO_APPS", APPS),
            ("WORKSPACE_API_KEY", "the long key of this test"),
            ("MODULES_API_KEY", "a key of this test"),
            ("JWT_INTROSPECTION_URL", issuer.url.as_str()),
            ("JWT_INTROSPECTION_SECONDS", "1"),
        ];
        variables.extend(own_secret.map(|secret| ("MODULES_JWT_SECRET", secret)));
        let app = TestApp::with_settings(&variables, |_| {}).await;
        let modules_token = claims::sign_with(own_secret.unwrap_or(claims::SECRET), &user_claims());
        let open = open_all(&app, &modules_token).await;
        issuer.valid.store(false, Ordering::SeqCst);
        open.assert_end().await;
        for path in ["/ws?", "/socket/websocket?vsn=2.0.0&"] {
            let token = app.sign(&user_claims());
            let url = format!("ws://{}{path}token={token}", app.address());
            let refused = TestSocket::try_connect(&url, &[]).await.err();
            assert!(matches!(refused, Some(401 | 403)), "{path} {refused:?}");
        }
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
