//! The workspace app: the view of its dashboards and its publisher, through all connection
//! failures.

use std::net::SocketAddr;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    ADMIN_OF_B1, B1, TempFolder, TestApp, TestSocket, claims, wait_until, within,
};

const KEY: &str = "a publisher's key for tests";
const SETTINGS: [(&str, &str); 2] = [("LATIDO_APPS", "workspace"), ("WORKSPACE_API_KEY", KEY)];

async fn start() -> TestApp {
    TestApp::with_settings(&SETTINGS, |_| {}).await
}

/// Signs a token as the Node server does.
fn member_token(app: &TestApp, user: &str, workspaces: &[&str]) -> String {
    let workspaces: Vec<_> = workspaces
        .iter()
        .map(|id| json!({"workspaceId": id, "role": "admin"}))
        .collect();
    app.sign(&json!({"userId": user, "workspaces": workspaces, "exp": claims::now() + 600}))
}

async fn connect(app: &TestApp) -> TestSocket {
    TestSocket::try_connect(&app.ws_url(), &[])
        .await
        .expect("no token is needed to connect")
}

/// Connects a user's dashboard and joins it to a workspace.
async fn join_workspace(app: &TestApp, workspace: &str, user: &str) -> TestSocket {
    let mut socket = connect(app).await;
    let token = member_token(app, user, &[workspace]);
    socket
        .send(&json!({"type": "auth", "workspace_id": workspace, "user_id": user, "token": token}))
        .await;
    assert_eq!(socket.next().await, json!({"type": "auth_success"}));
    socket
}

/// Sends a request as the publisher.
async fn publisher_request(
    app: &TestApp,
    method: Method,
    path: &str,
    body: String,
) -> (u16, Value) {
    let request = app
        .request(method, path)
        .header("X-API-Key", KEY)
        .header("Content-Type", "application/json");
    let answer = request.body(body).send().await.expect("a response");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn broadcast(app: &TestApp, workspace: &str, message: &Value) -> u16 {
    let body = json!({"message": message}).to_string();
    publisher_request(
        app,
        Method::POST,
        &format!("/api/workspaces/{workspace}/broadcast"),
        body,
    )
    .await
    .0
}

async fn list_users(app: &TestApp, workspace: &str) -> Vec<Value> {
    let (status, body) = publisher_request(
        app,
        Method::GET,
        &format!("/api/workspaces/{workspace}/users"),
        String::new(),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    body["users"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn broadcast_reaches_every_socket_of_its_workspace_only() {
    let app = start().await;
    let (mut one, mut two, mut other) = (
        join_workspace(&app, "1", "a").await,
        join_workspace(&app, "1", "a").await,
        join_workspace(&app, "2", "a").await,
    );
    let body =
        json!({"type": "update", "entity": "Client", "data": {"_id": "507f191e810c19729de860ea"}});
    let (status, answer) = publisher_request(
        &app,
        Method::POST,
        "/api/workspaces/1/notify",
        body.to_string(),
    )
    .await;
    assert_eq!((status, answer), (200, json!({"status": "notified"})));
    for socket in [&mut one, &mut two] {
        let frame = socket.next().await;
        assert_eq!(
            frame,
            json!({"type": "data_change", "entity": "Client", "action": "update", "data": body["data"]})
        );
    }
    other.assert_quiet().await;
    let (status, _) = publisher_request(
        &app,
        Method::POST,
        "/api/users/a/message",
        r#"{"message":{"type":"appointment_confirmed"}}"#.into(),
    )
    .await;
    assert_eq!(status, 200);
    for socket in [&mut one, &mut two, &mut other] {
        assert_eq!(
            socket.next().await,
            json!({"type": "direct_message", "message": {"type": "appointment_confirmed"}})
        );
    }
    assert_eq!(list_users(&app, "1").await, [json!("a")]);
    assert_eq!(app.metric("latido_app_connections").await, 3.0);
    assert_eq!(app.metric("latido_app_reached_total").await, 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_share_one_socket() {
    let app = start().await;
    let channel = format!("estadisticas:{B1}");
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let before = socket.subscribe(&channel).await;
    // An old dashboard that shows both: its first token stays valid for the channels it grants.
    let token = member_token(&app, "507f", &["1"]);
    socket
        .send(&json!({"type": "auth", "workspace_id": 1, "user_id": "507f", "token": token}))
        .await;
    assert_eq!(
        socket.next_of_type("auth_success").await,
        json!({"type": "auth_success"})
    );
    app.book(&app.connect_database().await, B1, "pendiente", 0)
        .await;
    let total = before["data"]["total_citas"].as_i64();
    socket
        .stats_until(&channel, |data| data["total_citas"].as_i64() > total)
        .await;
    assert_eq!(broadcast(&app, "1", &json!("hello")).await, 200);
    assert_eq!(socket.next_of_type("broadcast").await["message"], "hello");

    // The reverse also holds: the token of an `auth` message opens the streams that it grants.
    let grants = json!({"userId": "507f", "workspaces": [{"workspaceId": 2}], "negocio_id": B1, "exp": claims::now() + 600});
    let mut socket = connect(&app).await;
    socket.send(&json!({"type": "auth", "workspace_id": 2, "user_id": "507f", "token": app.sign(&grants)})).await;
    assert_eq!(socket.next().await, json!({"type": "auth_success"}));
    socket.subscribe(&channel).await;
    assert_eq!(broadcast(&app, "2", &json!(1)).await, 200);
    assert_eq!(socket.next_of_type("broadcast").await["message"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_accepted_in_the_url() {
    let app = start().await;
    let mut socket = app.connect_socket(&member_token(&app, "7", &["1"])).await;
    socket
        .send(&json!({"type": "auth", "workspace_id": "1", "user_id": 7}))
        .await;
    assert_eq!(socket.next().await, json!({"type": "auth_success"}));
    assert_eq!(list_users(&app, "1").await, [json!(7)]);
    let url = format!(
        "{}?token={}x",
        app.ws_url(),
        member_token(&app, "7", &["1"])
    );
    assert_eq!(TestSocket::try_connect(&url, &[]).await.err(), Some(401));
    // A streams client that claims a workspace without a token for it.
    let mut impostor = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    impostor
        .send(&json!({"type": "auth", "workspace_id": "1", "user_id": ADMIN_OF_B1}))
        .await;
    assert_eq!(
        impostor.next().await,
        json!({"type": "error", "message": "Unauthorized"})
    );
    assert_eq!(impostor.wait_for_close_code().await, Some(4401));
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthorized_clients_and_invalid_messages_are_rejected() {
    let app = start().await;
    let mut silent = connect(&app).await;
    let mut socket = connect(&app).await;
    for (sent, message) in [
        ("{", "Invalid JSON format"),
        (r#"{"type":"x"}"#, "Unknown message type"),
    ] {
        socket.send_raw(Message::text(sent)).await;
        assert_eq!(
            socket.next().await,
            json!({"type": "error", "message": message})
        );
    }
    socket.send_raw(Message::binary(vec![0xff; 10])).await;
    assert_eq!(socket.next().await["message"], "Invalid JSON format");
    socket.send(&json!({"type": "ping"})).await;
    assert_eq!(socket.next().await, json!({"type": "pong"}));
    socket.send_raw(Message::text("x".repeat(20_000))).await;
    assert_eq!(socket.wait_for_close_code().await, Some(1009));
    let mut eager = connect(&app).await;
    eager
        .send(&json!({"type": "subscribe", "data": {"channel": format!("estadisticas:{B1}")}}))
        .await;
    assert_eq!(
        eager.next().await,
        json!({"type": "error", "message": "Unauthorized"})
    );
    assert_eq!(eager.wait_for_close_code().await, Some(4401));
    let mut flood = connect(&app).await;
    // The server may end the connection before the last message.
    for _ in 0..900 {
        if !flood.try_send(Message::text("{}")).await {
            break;
        }
    }
    assert_eq!(flood.wait_for_close_code().await, Some(4429));
    assert_eq!(
        silent.wait_for_close_code().await,
        Some(4401),
        "a silent client is closed after ten seconds"
    );
    app.assert_metric_settles("latido_app_connections", 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disconnected_users_are_removed_from_the_list() {
    let app = start().await;
    let mut sockets = Vec::new();
    for user in ["a", "a", "b", "c"] {
        sockets.push(join_workspace(&app, "1", user).await);
    }
    assert_eq!(
        list_users(&app, "1").await,
        [json!("a"), json!("b"), json!("c")]
    );
    // The connections are dropped without a close frame.
    sockets.truncate(1);
    wait_until("the connections are removed", async || {
        list_users(&app, "1").await == [json!("a")]
    })
    .await;
    sockets.clear();
    wait_until("all clients are removed", async || {
        list_users(&app, "1").await.is_empty()
    })
    .await;
    app.assert_metric_settles("latido_connections", 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_client_is_closed_without_affecting_others() {
    let app = start().await;
    // The receive buffer is small, and the client never reads it.
    let slow = tokio::net::TcpSocket::new_v4().unwrap();
    slow.set_recv_buffer_size(4096).unwrap();
    let slow = within(slow.connect(app.address())).await.unwrap();
    let token = member_token(&app, "slow", &["1"]);
    let mut slow = upgrade(slow, &token).await;
    let auth = json!({"type": "auth", "workspace_id": "1", "user_id": "slow"}).to_string();
    slow.write_all(&masked(&auth)).await.unwrap();
    wait_until("the client has joined", async || {
        list_users(&app, "1").await == [json!("slow")]
    })
    .await;
    let mut reader = join_workspace(&app, "1", "reader").await;
    let text = "x".repeat(16 * 1024);
    const COUNT: usize = 400;
    // By turns, because a reader on a busy machine could be slow as well.
    for number in 0..COUNT {
        while broadcast(&app, "1", &json!({"n": number, "text": text})).await == 503 {}
        assert_eq!(
            reader.next().await["message"]["n"],
            number,
            "every message arrives, in order"
        );
    }
    wait_until("the slow client is removed", async || {
        list_users(&app, "1").await == [json!("reader")]
    })
    .await;
    app.assert_metric_settles(r#"latido_closes_total{reason="too_slow"}"#, 1.0)
        .await;
}

/// Sends the upgrade request by hand, on a plain socket.
async fn upgrade(mut socket: TcpStream, token: &str) -> TcpStream {
    let head = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

fn masked(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnect_storm_leaves_a_correct_user_list() {
    const CLIENTS: usize = 500;
    let app = start().await;
    for round in 0..2 {
        let names: Vec<_> = (0..CLIENTS).map(|n| format!("user_{n:03}")).collect();
        let mut sockets = join_all(names.iter().map(|name| join_workspace(&app, "1", name))).await;
        assert_eq!(list_users(&app, "1").await.len(), CLIENTS);
        assert_eq!(broadcast(&app, "1", &json!(round)).await, 200);
        join_all(
            sockets
                .iter_mut()
                .map(|socket| async move { assert_eq!(socket.next().await["message"], round) }),
        )
        .await;
        // All connections drop at once, and all reconnect at once.
        drop(sockets);
    }
    wait_until("all clients are removed", async || {
        list_users(&app, "1").await.is_empty()
    })
    .await;
    app.assert_metric_settles("latido_app_connections", 0.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_asks_every_client_to_reconnect() {
    let mut app = start().await;
    let mut sockets =
        join_all((0..20).map(|n| join_workspace(&app, "1", if n % 2 == 0 { "a" } else { "b" })))
            .await;
    let closing = join_all(sockets.iter_mut().map(TestSocket::wait_for_close_code));
    let (in_time, codes) = tokio::join!(app.stop(), closing);
    assert!(in_time);
    assert_eq!(codes, [Some(1012); 20]);
}

/// Asserts that a body over the limit is refused, and a body that never ends.
async fn assert_body_limits(address: SocketAddr) {
    let request = crate::harness::http_client()
        .post(format!("http://{address}/api/users/7/message"))
        .header("X-API-Key", KEY);
    let response = request
        .body("x".repeat(1024 * 1024 + 1))
        .send()
        .await
        .expect("a response");
    assert_eq!(
        (
            response.status().as_u16(),
            response.json::<Value>().await.expect("JSON")
        ),
        (413, json!({"error": "the body is too large"}))
    );
    let mut slow = within(TcpStream::connect(address)).await.unwrap();
    let head = format!(
        "POST /api/users/7/message HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 20\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    within(tokio::io::AsyncReadExt::read_to_end(
        &mut slow,
        &mut response,
    ))
    .await
    .unwrap();
    assert!(
        String::from_utf8_lossy(&response).starts_with("HTTP/1.1 408"),
        "{response:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn app_can_have_its_own_port() {
    let folder = TempFolder::new();
    let file = folder.write("latido.toml", "[apps.workspace]\nport = 0\n");
    let settings = [
        ("LATIDO_CONFIG", file.to_str().expect("UTF-8")),
        ("WORKSPACE_API_KEY", KEY),
    ];
    let app = TestApp::with_settings(&settings, |_| {}).await;
    let address = app.app_address("workspace");
    assert_ne!(address, app.address());
    assert_eq!(
        TestSocket::try_connect(&app.ws_url(), &[]).await.err(),
        Some(401),
        "the main port has no such clients"
    );
    let mut socket = TestSocket::try_connect(&format!("ws://{address}/ws"), &[])
        .await
        .expect("the app's own port accepts them");
    let token = member_token(&app, "7", &["1"]);
    socket
        .send(&json!({"type": "auth", "workspace_id": 1, "user_id": 7, "token": token}))
        .await;
    assert_eq!(socket.next().await, json!({"type": "auth_success"}));
    let ask = async |path: &str| {
        let answer = crate::harness::http_client()
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .expect("a response");
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.expect("JSON"),
        )
    };
    for path in ["/health", "/api/health"] {
        let (status, body) = ask(path).await;
        assert_eq!((status, &body["status"]), (200, &json!("ok")), "{path}");
    }
    for path in [
        "/api/anything",
        "/anything",
        "/any/thing",
        "/any/thing/events",
        "/a/b/c/d",
        "/notify/",
    ] {
        let answer = ask(path).await;
        assert_eq!(answer, (404, json!({"error": "Not found"})), "{path}");
    }
    assert_eq!(app.get("/api/health").await.0, 404);
    assert_body_limits(address).await;
    socket.close().await;
    assert!(TestSocket::try_connect(&app.ws_url(), &[]).await.is_err());
    app.assert_metric_settles("latido_app_connections", 0.0)
        .await;
}
