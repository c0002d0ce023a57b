//! Socket.IO clients that change their transport, break off, or are old.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::entry_points::{next_packet, open_socketio};
use crate::harness::{TestApp, TestSocket, claims, http_client};

const MODULES: [(&str, &str); 2] = [
    ("LATIDO_APPS", "modules"),
    ("MODULES_API_KEY", "a key of this test"),
];

/// The requests that a client may need until it has what it wants.
const FEW_POLLS: usize = 12;

/// A polling session of version 4.
struct PollingClient<'a> {
    app: &'a TestApp,
    path: String,
    polls: usize,
    /// Packets that were received and not looked at yet.
    packets: Vec<String>,
}

impl<'a> PollingClient<'a> {
    async fn open(app: &'a TestApp) -> Self {
        let path = "/socket.io/?EIO=4&transport=polling";
        let (status, body) = app.get(path).await;
        assert_eq!(status, 200, "{body}");
        let sid = body.split('"').nth(3).unwrap();
        Self {
            app,
            path: format!("{path}&sid={sid}"),
            polls: 0,
            packets: Vec::new(),
        }
    }

    /// Opens a session whose client proves to be user 7.
    async fn identified(app: &'a TestApp) -> Self {
        let mut client = Self::open(app).await;
        client.post(&format!("40{}", token(app))).await;
        client.next("40").await;
        client
    }

    async fn post(&self, body: &str) {
        let request = self.app.request(Method::POST, &self.path);
        let response = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await.unwrap(), "ok");
    }

    /// Polls until a packet starts with `start`, and returns it.
    async fn next(&mut self, start: &str) -> String {
        loop {
            while !self.packets.is_empty() {
                let packet = self.packets.remove(0);
                if packet.starts_with(start) {
                    return packet;
                }
            }
            self.polls += 1;
            let (status, body) = self.app.get(&self.path).await;
            assert_eq!(status, 200, "{body}");
            self.packets = body.split('\u{1e}').map(ToOwned::to_owned).collect();
        }
    }

    /// Opens a WebSocket for the session.
    async fn websocket(&self) -> TestSocket {
        let path = self.path.replace("polling", "websocket");
        let url = format!("ws://{}{path}", self.app.address());
        TestSocket::try_connect(&url, &[]).await.unwrap()
    }
}

fn token(app: &TestApp) -> String {
    let token = app.sign(&json!({"id": 7, "exp": claims::now() + 600}));
    json!({"token": token}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn spoiled_upgrade_leaves_the_session_polling() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    for probes in [false, true] {
        for is_cut in [false, true] {
            let mut client = PollingClient::open(&app).await;
            let mut socket = client.websocket().await;
            if probes {
                socket.send_raw("2probe".into()).await;
                assert_eq!(socket.next_text().await, "3probe");
            }
            let kept = (!is_cut).then_some(socket);
            client.post(&format!("40{}", token(&app))).await;
            client.next("40").await;
            client.post(r#"42["request_stats"]"#).await;
            client.next(r#"42["simple_stats_update""#).await;
            assert!(client.polls <= FEW_POLLS, "{} polls", client.polls);
            drop(kept);
            client.post(r#"42["request_stats"]"#).await;
            client.next(r#"42["simple_stats_update""#).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_probe_closes_only_its_socket() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let mut client = PollingClient::identified(&app).await;
    for packet in ["4hello", "3", "x", "2"] {
        let mut socket = client.websocket().await;
        socket.send_raw(packet.into()).await;
        assert_eq!(socket.wait_for_close_code().await, Some(1000), "{packet}");
    }
    client.post(r#"42["request_stats"]"#).await;
    client.next(r#"42["simple_stats_update""#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_moves_to_its_websocket_with_everything_that_waits() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    for probes in [true, false] {
        let client = PollingClient::identified(&app).await;
        let mut socket = client.websocket().await;
        if probes {
            socket.send_raw("2probe".into()).await;
            assert_eq!(socket.next_text().await, "3probe");
        }
        // The answer to the first waits for a poll that does not come.
        client.post(r#"42["request_stats"]"#).await;
        socket.send_raw("5".into()).await;
        socket
            .send_raw(r#"427["client:sync:request"]"#.into())
            .await;
        next_packet(&mut socket, r#"42["simple_stats_update""#).await;
        next_packet(&mut socket, r#"42["client:sync:success""#).await;
        next_packet(&mut socket, r#"437[{"success":true}]"#).await;
        assert_eq!(app.get(&client.path).await.0, 400, "no poll any more");
        let url = client.path.replace("polling", "websocket");
        let url = format!("ws://{}{url}", app.address());
        let mut second = TestSocket::try_connect(&url, &[]).await.unwrap();
        assert_eq!(second.wait_for_close_code().await, Some(1000));
        socket.send_raw(r#"42["request_stats"]"#.into()).await;
        next_packet(&mut socket, r#"42["simple_stats_update""#).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_follow_a_session_to_its_websocket() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let client = PollingClient::identified(&app).await;
    let emit = async |number: usize| {
        let path = "/api/modules/emit/emitUserSessionNew";
        let request = app.request(Method::POST, path);
        let body = json!({"userId": 7, "message": number.to_string()});
        let response = request
            .header("x-api-key", "a key of this test")
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = response.status();
        assert!(status.is_success(), "{status} {:?}", response.text().await);
    };
    emit(0).await;
    emit(1).await;
    let mut socket = client.websocket().await;
    socket.send_raw("5".into()).await;
    for number in 2..20 {
        emit(number).await;
    }
    for number in 0..20 {
        let packet = next_packet(&mut socket, "42").await;
        let expected = format!(r#""message":"{number}""#);
        assert!(packet.contains(&expected), "{packet}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_poll_ends_the_session_at_once() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let client = PollingClient::identified(&app).await;
    let waiting = app.get(&client.path);
    // Nothing is to be said to the client, so the poll waits.
    let timeout = tokio::time::timeout(Duration::from_millis(500), waiting).await;
    assert!(timeout.is_err(), "the poll waits");
    assert_eq!(app.get(&client.path).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn close_by_post_may_overtake_the_last_poll() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let client = PollingClient::identified(&app).await;
    client.post("1").await;
    assert_eq!(app.get(&client.path).await, (200, "6".to_owned()));
    assert_eq!(app.get(&client.path).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn client_of_version_3_is_served_where_an_app_allows_it() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let token = app.sign(&json!({"id": 7, "exp": claims::now() + 600}));
    let query = format!("EIO=3&token={token}");
    let url = format!(
        "ws://{}/socket.io/?{query}&transport=websocket",
        app.address()
    );
    let mut socket = TestSocket::try_connect(&url, &[]).await.unwrap();
    assert!(socket.next_text().await.starts_with("0{"));
    assert_eq!(socket.next_text().await, "40", "it does not ask for it");
    socket.send_raw("2".into()).await;
    assert_eq!(socket.next_text().await, "3");
    socket.send_raw(r#"421["request_stats"]"#.into()).await;
    let stats = socket.next_text().await;
    assert!(stats.starts_with(r#"42["simple_stats_update""#), "{stats}");
    assert_eq!(socket.next_text().await, r#"431[{"success":true}]"#);
    socket.send_raw("40/nowhere".into()).await;
    let refused = socket.next_text().await;
    assert_eq!(refused, r#"44/nowhere,{"message":"Invalid namespace"}"#);

    let path = format!("/socket.io/?{query}&transport=polling&b64=1");
    let (status, body) = app.get(&path).await;
    assert_eq!(status, 200);
    let (length, rest) = body.split_once(':').unwrap();
    let (open, connect) = rest.split_at(length.parse().unwrap());
    assert!(open.starts_with("0{"), "{open}");
    assert_eq!(connect, "2:40");
    let sid = open.split('"').nth(3).unwrap();
    let path = format!("{path}&sid={sid}");
    let body = r#"21:42["request_stats"]"#.replace("21", "19");
    let posted = app.request(Method::POST, &path).body(body).send().await;
    assert_eq!(posted.unwrap().status(), 200);
    let (_, stats) = app.get(&path).await;
    assert!(stats.contains(r#":42["simple_stats_update""#), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_is_refused_where_no_app_allows_it() {
    let variables = [
        ("LATIDO_APPS", "gateway"),
        ("GATEWAY_PORT", "0"),
        ("GATEWAY_API_URL", "http://127.0.0.1:9"),
        ("GATEWAY_API_KEY", "the long key of this test"),
    ];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let url = format!(
        "http://{}/socket.io/?EIO=3&transport=polling",
        app.app_address("gateway")
    );
    let response = http_client().get(url).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let body = response.text().await.unwrap();
    assert!(body.contains(r#""code":5"#), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_without_an_answer_is_acknowledged() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let mut page = open_socketio(&app).await;
    page.send_raw(format!("40{}", token(&app)).into()).await;
    next_packet(&mut page, "40").await;
    page.send_raw(r#"420["register_page",{"page":"modules"}]"#.into())
        .await;
    next_packet(&mut page, r#"430[{"success":true}]"#).await;
    page.send_raw(r#"421["module_claim",{"moduleId":"M9"}]"#.into())
        .await;
    let refused = next_packet(&mut page, "431").await;
    assert_eq!(
        refused,
        r#"431[{"success":false,"message":"Module code required"}]"#
    );
}
