//! Long polling, byte by byte as the official clients send it.

use std::time::Duration;

use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::harness::wait_until;

/// A client that polls.
struct Poller<'a> {
    app: &'a TestApp,
    address: String,
    token: String,
    received: std::collections::VecDeque<Value>,
}

async fn body(request: reqwest::RequestBuilder) -> Value {
    let answer = within(request.send()).await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

impl<'a> Poller<'a> {
    /// Opens a session, as the version 1.7 of the official client does.
    async fn open(app: &'a TestApp, address: String) -> Poller<'a> {
        let opening = async {
            loop {
                let answer = body(app.request(Method::GET, &format!("{address}&"))).await;
                // The server is not ready until the change feed knows its start position.
                if answer["status"] != 500 {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let opened = within(opening).await;
        assert_eq!(
            (&opened["status"], &opened["messages"]),
            (&json!(410), &json!([]))
        );
        Poller {
            app,
            token: opened["token"].as_str().unwrap().to_owned(),
            address,
            received: std::collections::VecDeque::new(),
        }
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        self.app
            .request(method, &format!("{}&token={}", self.address, self.token))
    }

    async fn poll(&mut self) -> Value {
        let answer = body(self.request(Method::GET)).await;
        if let Some(messages) = answer["messages"].as_array() {
            let texts = messages.iter().map(|message| message.as_str().unwrap());
            self.received
                .extend(texts.map(|text| serde_json::from_str::<Value>(text).unwrap()));
        }
        answer["status"].clone()
    }

    /// Sends frames as one batch.
    async fn send(&self, frames: &[Value]) -> Value {
        let lines: Vec<String> = frames.iter().map(Value::to_string).collect();
        let request = self.request(Method::POST);
        let request = request.header("content-type", "application/x-ndjson");
        body(request.body(lines.join("\n"))).await["status"].clone()
    }

    /// Polls until a frame has this event, and returns it.
    async fn wait_for_event(&mut self, event: &str) -> Value {
        loop {
            while let Some(frame) = self.received.pop_front() {
                if frame[3] == event || frame["event"] == event {
                    return frame;
                }
            }
            let status = self.poll().await;
            assert!(status == 200 || status == 204, "{status}");
        }
    }
}

fn address(app: &TestApp, user: Uuid) -> String {
    let token = token(app, user);
    format!("/messaging/socket/longpoll?token={token}&vsn=2.0.0")
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_client_talks_with_one_that_has_a_websocket() {
    let (app, _db) = start_server(&[]).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let mut ana = Poller::open(&app, address(&app, ANA)).await;
    let join = |topic: String| json!(["1", "1", topic, "phx_join", {}]);
    let joins = [join(format!("user:{ANA}")), join(channel(CONVERSATION))];
    assert_eq!(ana.send(&joins).await, 200);
    ana.wait_for_event("sync_complete").await;
    assert_eq!(
        ana.wait_for_event("phx_reply").await[2],
        channel(CONVERSATION).as_str()
    );
    let state = ana.wait_for_event("presence_state").await;
    assert!(state[4][ANA.to_string()].is_object(), "she is present");
    let send = |content: &str, number: i32| {
        let message = message(content, number);
        json!([
            "1",
            number.to_string(),
            channel(CONVERSATION),
            "new_message",
            message
        ])
    };
    assert_eq!(
        ana.send(&[send("uno", 1), send("dos", 2), send("tres", 3)])
            .await,
        200
    );
    let heard = eva.message_contents_until("tres").await;
    assert_eq!(heard, ["uno", "dos", "tres"]);
    eva.send("cuatro", 4).await;
    let mut contents = Vec::new();
    while contents.last().is_none_or(|last| last != "cuatro") {
        let event = ana.wait_for_event("new_message").await;
        if event[2] == channel(CONVERSATION).as_str() {
            contents.push(event[4]["message"]["content"].clone());
        }
    }
    assert_eq!(
        contents,
        ["uno", "dos", "tres", "cuatro"],
        "once and in order"
    );
    // A member who is removed is removed here as well.
    let sql = format!("DELETE FROM conversation_members WHERE user_id = '{ANA}'");
    app.connect_database()
        .await
        .batch_execute(&sql)
        .await
        .unwrap();
    ana.wait_for_event("phx_close").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_payloads_are_those_of_the_websocket() {
    let (app, _db) = start_server(&[]).await;
    let token = token(&app, ANA);
    // Version 1: objects, one in each request, at the document's address.
    let address = format!("/socket/longpoll?token={token}");
    let mut old = Poller::open(&app, address.clone()).await;
    let heartbeat = json!({"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "7"});
    let request = old
        .request(Method::POST)
        .header("content-type", "application/json");
    assert_eq!(
        body(request.body(heartbeat.to_string())).await,
        json!({"status": 200})
    );
    let reply = old.wait_for_event("phx_reply").await;
    assert_eq!(
        (&reply["ref"], &reply["payload"]["status"]),
        (&json!("7"), &json!("ok"))
    );
    // What is no frame ends the session, with the status 410.
    assert_eq!(old.send(&[json!([1, 2])]).await, 410);
    assert_eq!(old.poll().await, 410);

    // The newest clients send both tokens in headers.
    let newest = |method: Method, session: Option<&str>| {
        let request = app.request(method, "/socket/longpoll?vsn=2.0.0");
        let request = request.header("x-phoenix-authtoken", &token);
        match session {
            Some(session) => request.header("x-phoenix-longpoll-token", session),
            None => request,
        }
    };
    let opened = body(newest(Method::GET, None)).await;
    let session = opened["token"].as_str().unwrap();
    let push = newest(Method::POST, Some(session));
    // A binary push of version 2, which gets an answer like over a WebSocket.
    let binary = "AAEBB0pvaW5jaGFuAAA=";
    let push = push.header("content-type", "application/x-ndjson");
    let answer = body(push.body(format!(
        "[null,\"1\",\"phoenix\",\"heartbeat\",{{}}]\n{binary}"
    )));
    assert_eq!(answer.await["status"], 410, "this one is cut off");
    let messages = body(newest(Method::GET, Some(session))).await;
    assert_eq!(
        messages["messages"].as_array().unwrap().len(),
        1,
        "the heartbeat before it"
    );
    assert_eq!(
        body(newest(Method::GET, Some(session))).await,
        json!({"status": 410})
    );
    // Clients before 1.8 join their channels again after an error only.
    let older = newest(Method::GET, Some(session)).header("content-type", "application/json");
    assert_eq!(body(older).await, json!({"status": 500}));
    let spoiled = newest(Method::POST, Some("lp.unknown")).body("?");
    assert_eq!(body(spoiled).await, json!({"status": 410}));
}

#[tokio::test(flavor = "multi_thread")]
async fn token_that_ends_ends_the_session_with_403() {
    let (app, _db) = start_server(&[]).await;
    let address = address(&app, ANA);
    let mut ana = Poller::open(&app, address.clone()).await;
    let later = app.clock().now() + jiff::SignedDuration::from_hours(2);
    app.clock().set(later);
    assert_eq!(ana.poll().await, 403);
    assert_eq!(ana.send(&[]).await, 410);
    let again = body(app.request(Method::GET, &address)).await;
    assert_eq!(again, json!({"status": 403}));
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_obey_the_limits_and_origins() {
    let variables = [
        ("MAX_CONNECTIONS_PER_ADDRESS", "4"),
        ("ALLOWED_ORIGINS", "https://app.example"),
    ];
    let (app, _db) = start_server(&variables).await;
    let address = address(&app, ANA);
    let from = |origin: &str| app.request(Method::GET, &address).header("origin", origin);
    let refused = within(from("https://evil.example").send()).await.unwrap();
    assert_eq!(refused.status(), 403);
    let first = Poller::open(&app, address.clone()).await;
    let answer = within(from("https://app.example").send()).await.unwrap();
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    let others = [
        Poller::open(&app, address.clone()).await,
        Poller::open(&app, address.clone()).await,
    ];
    let full = within(app.request(Method::GET, &address).send())
        .await
        .unwrap();
    assert_eq!(full.status(), 503);
    let large = first
        .request(Method::POST)
        .body("x".repeat(1024 * 1024 + 1));
    let large = within(large.send()).await.unwrap();
    assert_eq!(large.status(), 413);
    let large = app.request(Method::GET, &address).body("x".repeat(100_000));
    let large = within(large.send()).await.unwrap().status();
    assert!(large == 413 || large == 503, "{large}");
    drop(others);
    // Sessions that nobody polls leave their places.
    wait_until("there is room", async || {
        let request = app.request(Method::GET, &address);
        within(request.send()).await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_poll_takes_its_client_offline() {
    let (app, _db) = start_server(&[]).await;
    let mut eva = PhoenixTestClient::connect_and_join(&app, EVA).await;
    let ana = Poller::open(&app, address(&app, ANA)).await;
    let join = json!(["1", "1", channel(CONVERSATION), "phx_join", {}]);
    assert_eq!(ana.send(&[join]).await, 200);
    eva.wait_for_event("user_joined").await;
    let mut ana = ana;
    let aborted = tokio::time::timeout(Duration::from_secs(3), async {
        loop {
            ana.poll().await;
        }
    });
    assert!(aborted.await.is_err());
    assert_eq!(
        eva.wait_for_event("user_left").await["user_id"],
        ANA.to_string()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_end_with_the_server() {
    let (mut app, _db) = start_server(&[("SHUTDOWN_SECONDS", "2")]).await;
    let token = token(&app, ANA);
    let address = format!("/socket/longpoll?vsn=2.0.0&token={token}");
    let session = Poller::open(&app, address).await.token;
    // Bytes that the kernel has are a request, whenever the server reads them.
    let mut poll = TcpStream::connect(app.address()).await.unwrap();
    let request =
        format!("GET /socket/longpoll?token={session} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    poll.write_all(request.as_bytes()).await.unwrap();
    assert!(app.stop().await);
    let mut answer = String::new();
    within(poll.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["status"], 500, "the client comes back");
}
