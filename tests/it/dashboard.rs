//! The operator side: access control, the displayed data, and the available actions.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{B1, SYSTEM_ADMIN, TestApp, TestSocket, claims, wait_until};

const STATE_CHANNEL: &str = "latido:servidor";
const CLIENTS_CHANNEL: &str = "latido:clientes";

/// Signs a token with the admin role.
fn admin_token(app: &TestApp) -> String {
    app.sign(&json!({"id": SYSTEM_ADMIN, "rol": "admin_sistema", "exp": claims::now() + 600}))
}

/// Signs a token that names every channel but has no role.
fn channel_token(app: &TestApp, user: &str) -> String {
    app.sign(&json!({"id": user, "negocio_id": B1, "channels": [STATE_CHANNEL, CLIENTS_CHANNEL], "exp": claims::now() + 600}))
}

async fn request_json(
    app: &TestApp,
    method: Method,
    path: &str,
    token: Option<&str>,
) -> (u16, Value) {
    let request = app.request(method, path);
    let request = if let Some(token) = token {
        request.bearer_auth(token)
    } else {
        request
    };
    let answer = request.send().await.expect("a response");
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.expect("text")).unwrap_or_default(),
    )
}

async fn get_json(app: &TestApp, path: &str) -> Value {
    let (status, body) = request_json(app, Method::GET, path, Some(&admin_token(app))).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn subscribe(socket: &mut TestSocket, channel: &str) {
    socket
        .send(&json!({"type": "subscribe", "data": {"channel": channel}}))
        .await;
}

/// Waits for the next frame of a system channel whose data satisfies the condition. Asserts that
/// versions rise on the way.
async fn wait_for_state(
    socket: &mut TestSocket,
    channel: &str,
    satisfied: impl Fn(&Value) -> bool,
) -> Value {
    let mut version = 0;
    loop {
        let frame = socket.next_of_type("server").await;
        if frame["channel"] != channel {
            continue;
        }
        let next = frame["v"].as_u64().expect("a version");
        assert!(next > version, "versions rise: {version} then {next}");
        version = next;
        if satisfied(&frame["data"]) {
            return frame["data"].clone();
        }
    }
}

fn row<'a>(data: &'a Value, user: &str) -> Option<&'a Value> {
    data["rows"]
        .as_array()?
        .iter()
        .find(|row| row["user"] == user)
}

/// The addresses with the statistics, without their optional prefix `/api`.
const STATISTICS: [&str; 6] = [
    "/dashboard",
    "/dashboard/clients",
    "/dashboard/rooms",
    "/dashboard/events",
    "/dashboard/stats",
    "/dashboard/api-status",
];

/// Sends a request and returns the status of the response.
async fn request_status(app: &TestApp, method: Method, path: &str, token: Option<&str>) -> u16 {
    request_json(app, method, path, token).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_have_access() {
    let app = TestApp::start().await;
    let (admin, non_admin) = (admin_token(&app), channel_token(&app, "ana"));
    let status = async |method, path: &str, token| request_status(&app, method, path, token).await;
    let plain = STATISTICS.map(str::to_owned);
    for path in plain
        .iter()
        .cloned()
        .chain(plain.iter().map(|path| format!("/api{path}")))
    {
        assert_eq!(status(Method::GET, &path, None).await, 401, "{path}");
        assert_eq!(
            status(Method::GET, &path, Some("x.y.z")).await,
            401,
            "{path}"
        );
        let (refused, body) = request_json(&app, Method::GET, &path, Some(&non_admin)).await;
        assert_eq!(
            (refused, body["error"]["code"].as_str()),
            (403, Some("forbidden")),
            "{path}"
        );
        assert_eq!(
            status(Method::GET, &path, Some(&admin)).await,
            200,
            "{path}"
        );
        assert_eq!(
            status(Method::PUT, &path, Some(&admin)).await,
            405,
            "{path}"
        );
    }
    for path in ["/dashboard/cleanup", "/dashboard/clients/0-0-1/close"] {
        assert_eq!(status(Method::POST, path, None).await, 401, "{path}");
        assert_eq!(
            status(Method::POST, path, Some(&non_admin)).await,
            403,
            "{path}"
        );
        assert_eq!(status(Method::GET, path, Some(&admin)).await, 405, "{path}");
    }
    // Tokens in URLs are refused, because URLs are written to logs.
    let with_token = format!("/dashboard/stats?token={admin}");
    assert_eq!(status(Method::GET, &with_token, None).await, 401);
    assert_eq!(
        status(Method::GET, "/dashboard/nothing", Some(&admin)).await,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_subscribe_to_the_server_channels() {
    let app = TestApp::start().await;
    let non_admin = channel_token(&app, "ana");
    let mut socket = app.connect_socket(&non_admin).await;
    for channel in [STATE_CHANNEL, CLIENTS_CHANNEL, "latido:clientes/ana"] {
        let error = socket.subscribe_as(channel, "error").await;
        assert_eq!(
            (&error["data"]["code"], &error["data"]["channel"]),
            (&json!("forbidden"), &json!(channel))
        );
    }
    let mut socket = app.connect_socket(&admin_token(&app)).await;
    assert_eq!(
        socket.subscribe_as("latido:otro", "error").await["data"]["code"],
        "unknown_channel"
    );
    assert_eq!(app.notify(&json!({"negocio_id": B1})).await.0, 200);
    assert_eq!(
        request_status(&app, Method::POST, "/notify/latido", None).await,
        404,
        "the server's own topics are not a stream"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_the_page_and_programs_get_the_statistics() {
    let app = TestApp::start().await;
    for path in ["/dashboard", "/dashboard/", "/dashboard.html"] {
        let answer = app
            .request(Method::GET, path)
            .header("accept", "text/html,*/*;q=0.8")
            .send()
            .await
            .expect("a response");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        assert!(
            answer.headers()["content-security-policy"]
                .to_str()
                .expect("text")
                .contains("default-src 'none'")
        );
        let page = answer.text().await.expect("text");
        assert!(page.starts_with("<!doctype html>"), "{path}");
    }
    let overview = get_json(&app, "/dashboard").await;
    for path in [
        "/metrics/totalConnections",
        "/clients/byRole/admin",
        "/rooms/mostActiveRooms",
        "/system/memoryUsage/rss",
    ] {
        assert!(overview.pointer(path).is_some(), "{path}: {overview}");
    }
    let stats = get_json(&app, "/dashboard/stats").await;
    for name in [
        "timestamp",
        "activeConnections",
        "totalRooms",
        "eventsPerMinute",
        "systemLoad",
        "version",
        "history",
        "uptime",
    ] {
        assert!(stats.get(name).is_some(), "{name}");
    }
    let status = get_json(&app, "/dashboard/api-status").await;
    assert_eq!(
        (
            &status["status"],
            &status["listener"],
            &status["keys"]["ok"]
        ),
        (&json!("connected"), &json!("listening"), &json!(true))
    );
    assert!(
        get_json(&app, "/dashboard/clients").await.is_array()
            && get_json(&app, "/api/dashboard/clients").await["clients"].is_array()
    );
    assert!(get_json(&app, "/dashboard/events").await["recentEvents"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_sees_clients_connect_and_disconnect() {
    let app = TestApp::start().await;
    let mut operator = app.connect_socket(&admin_token(&app)).await;
    subscribe(&mut operator, STATE_CHANNEL).await;
    subscribe(&mut operator, "latido:clientes/ANA").await;
    wait_for_state(&mut operator, "latido:clientes/ANA", |data| {
        data["rows"] == json!([])
    })
    .await;

    let channel = format!("estadisticas:{B1}");
    let mut client = app.connect_socket(&channel_token(&app, "ana")).await;
    client.subscribe(&channel).await;
    let data = wait_for_state(&mut operator, "latido:clientes/ANA", |data| {
        row(data, "ana").is_some_and(|row| row["channel_count"] == 1)
    })
    .await;
    let seen = row(&data, "ana").unwrap();
    assert_eq!(
        (&seen["channels"], &seen["transport"], &seen["behind"]),
        (&json!([channel]), &json!("websocket"), &Value::Null)
    );
    assert!(
        seen["address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{seen}"
    );
    assert!(row(&data, SYSTEM_ADMIN).is_none(), "the filter holds");
    let read = |data: &Value| data["rooms"]["rows"][0]["data"]["total_citas"].is_number();
    let state = wait_for_state(&mut operator, STATE_CHANNEL, read).await;
    assert_eq!(state["rooms"]["total"], 1);
    assert_eq!(
        (
            &state["rooms"]["rows"][0]["name"],
            &state["rooms"]["rows"][0]["viewers"]
        ),
        (&json!(channel), &json!(1))
    );

    client.close().await;
    wait_for_state(&mut operator, "latido:clientes/ANA", |data| {
        data["rows"] == json!([])
    })
    .await;
    let is_end = |event: &Value| {
        event["kind"] == "closed" && event["reason"] == "client" && event["detail"] == "ana"
    };
    wait_for_state(&mut operator, STATE_CHANNEL, |data| {
        data["events"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .any(is_end)
    })
    .await;
    let text = get_json(&app, "/dashboard/stats").await.to_string()
        + &get_json(&app, "/dashboard/events").await.to_string();
    assert!(!text.contains("eyJ"), "no token is shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_closes_one_session() {
    let app = TestApp::start().await;
    for (suffix, method, code, reason) in [
        ("/close", Method::POST, 4403, "dismissed"),
        ("/close?come_back=true", Method::POST, 1012, "recalled"),
        ("", Method::DELETE, 4403, "dismissed"),
    ] {
        let mut bystander = app.connect_socket(&channel_token(&app, "eva")).await;
        let mut client = app.connect_socket(&channel_token(&app, "ana")).await;
        client.send(&json!({"type": "ping"})).await;
        client.next_of_type("pong").await;
        let clients = get_json(&app, "/dashboard/clients?q=ana").await;
        let id = clients[0]["socketId"].as_str().expect("an id").to_owned();
        let path = format!("/dashboard/clients/{id}{suffix}");
        let (status, body) =
            request_json(&app, method.clone(), &path, Some(&admin_token(&app))).await;
        assert_eq!(
            (status, &body["user"], &body["code"]),
            (200, &json!("ana"), &json!(code))
        );
        assert_eq!(client.wait_for_close_code().await, Some(code));
        bystander.assert_quiet().await;
        wait_until("the client is removed", async || {
            request_json(&app, method.clone(), &path, Some(&admin_token(&app)))
                .await
                .0
                == 404
        })
        .await;
        let events = get_json(&app, "/dashboard/events").await;
        let by = format!("{SYSTEM_ADMIN} → ana ({id})");
        let noted = |event: &Value| {
            event["kind"] == "operator"
                && event["reason"] == reason
                && event["detail"] == by.as_str()
        };
        assert!(
            events["recentEvents"].as_array().unwrap().iter().any(noted),
            "{events}"
        );
    }
    assert_eq!(
        request_json(
            &app,
            Method::DELETE,
            "/dashboard/clients/x",
            Some(&admin_token(&app))
        )
        .await
        .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_published_without_viewers() {
    let app = TestApp::start().await;
    let published = async || {
        get_json(&app, "/dashboard/stats").await["stream"]["published"]
            .as_u64()
            .expect("a count")
    };
    assert_eq!(published().await, 0);
    let mut operator = app.connect_socket(&admin_token(&app)).await;
    subscribe(&mut operator, STATE_CHANNEL).await;
    wait_for_state(&mut operator, STATE_CHANNEL, |data| !data["now"].is_null()).await;
    assert!(published().await > 0);
    operator
        .send(&json!({"type": "unsubscribe", "data": {"channel": STATE_CHANNEL}}))
        .await;
    operator.next_of_type("unsubscribed").await;
    wait_until("no viewer is left", async || {
        get_json(&app, "/dashboard/stats").await["stream"]["watched"] == 0
    })
    .await;
    let points = async || {
        get_json(&app, "/dashboard/stats").await["history"]["t"]
            .as_array()
            .map_or(0, Vec::len)
    };
    let (before, seconds) = (published().await, points().await);
    wait_until("the seconds go on", async || points().await > seconds + 2).await;
    // One publication may have been in progress.
    assert!(published().await <= before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_history_is_bounded_and_cleanup_responds() {
    let app = TestApp::start().await;
    let _clients = [
        app.connect_socket(&channel_token(&app, "ana")).await,
        app.connect_socket(&channel_token(&app, "eva")).await,
    ];
    app.assert_metric_settles("latido_connections", 2.0).await;
    let (status, body) = request_json(
        &app,
        Method::POST,
        "/dashboard/cleanup",
        Some(&admin_token(&app)),
    )
    .await;
    assert_eq!(
        (status, &body["lookedAt"], &body["closed"]),
        (201, &json!(2), &json!(0))
    );
    assert_eq!(
        request_json(
            &app,
            Method::POST,
            "/api/dashboard/cleanup",
            Some(&admin_token(&app))
        )
        .await
        .0,
        202
    );

    for _ in 0..600 {
        assert_eq!(app.get("/estadisticas/x").await.0, 401);
    }
    let events = get_json(&app, "/dashboard/events").await;
    let refused: u64 = events["recentEvents"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| {
            (event["kind"] == "refused")
                .then(|| event["data"]["count"].as_u64())
                .flatten()
        })
        .sum();
    assert!(refused >= 600, "each is counted: {refused}");
    assert!(
        events["recentEvents"].as_array().unwrap().len() < 300,
        "and a storm is a few entries"
    );
}
