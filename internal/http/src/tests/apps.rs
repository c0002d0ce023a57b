//! The app interface of a listener, tested with a small app: a room in which every member receives
//! every message.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::backend::token;
use super::{HttpBackend, TestResponse as Seen, TestServer, eventually, read_until};
use crate::{
    AppHandler, AppMounts, AppRequest, AppResponse, Config, HandlerSpec, HttpApp, WebSocketApp,
};
use latido_base::ident::UserId;
use latido_event_bus::{
    BusEvent, ConnectionId, EncodingId, EventBus, Identity, JoinRequest, PresenceMode, Publish,
    TopicName, TopicPolicy,
};
use latido_protocol::Frame;
use latido_shard::{Actions, AsyncResult, ClientMessage, ProtocolHandler, Timestamp};

struct PresenceOffPolicy;

impl TopicPolicy for PresenceOffPolicy {
    fn presence_mode(&self, _: &TopicName) -> PresenceMode {
        PresenceMode::Off
    }

    fn on_presence_change(
        &self,
        _: &TopicName,
        _: &latido_event_bus::PresenceDiff,
    ) -> Vec<Publish> {
        Vec::new()
    }
}

fn room() -> TopicName {
    TopicName::new("room")
}

#[derive(Clone)]
struct ToyApp {
    exchange: Arc<EventBus>,
}

struct ToyConnection {
    exchange: Arc<EventBus>,
    id: ConnectionId,
    user: UserId,
}

impl ProtocolHandler for ToyConnection {
    fn on_message(&mut self, message: ClientMessage<'_>, now: Timestamp, acts: &mut Actions<'_>) {
        assert!(now.unix_s > 1_700_000_000);
        match message {
            ClientMessage::Text("bye") => acts.close(4123, "as you wish"),
            ClientMessage::Text("ask") => assert!(acts.spawn(async { "told later".to_owned() })),
            ClientMessage::Text("behind") => {
                self.publish("first");
                acts.send_after_events(Frame::text("\"second\""));
            }
            ClientMessage::Text("native") => acts.forward_native(r#"{"type":"ping"}"#),
            ClientMessage::Text(text) => self.publish(text),
            ClientMessage::Binary(bytes) => acts.send_text(&format!("{} bytes", bytes.len())),
        }
    }

    fn on_async_result(&mut self, result: AsyncResult, _: Timestamp, acts: &mut Actions<'_>) {
        acts.send_text(&result.downcast::<String>().unwrap());
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        Frame::text(&event.message().unwrap().payload)
    }

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }

    fn on_shutdown(&mut self, acts: &mut Actions<'_>) {
        acts.send_text("the end is near");
    }
}

impl ToyConnection {
    fn publish(&self, text: &str) {
        self.exchange
            .publish(Publish::new([room()], "said", format!("{text:?}")))
            .unwrap();
    }
}

impl Drop for ToyConnection {
    fn drop(&mut self) {
        self.exchange.disconnect(self.id);
    }
}

impl WebSocketApp for ToyApp {
    fn matches(&self, path: &str) -> bool {
        path == "/toy" || path == "/ws"
    }

    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let exchange = Arc::clone(&self.exchange);
        async move {
            let Some(user) = request.query("user") else {
                return Err(AppResponse::json(403, "\"who?\""));
            };
            let user = UserId::new(&user);
            Ok(HandlerSpec::new("toy", move |context| {
                let identity = Identity {
                    user: Some(user.clone()),
                };
                let id = exchange
                    .connect_on_shard(
                        &context.queue,
                        EncodingId(9),
                        context.connection_slot,
                        identity,
                        &[JoinRequest::new(room())],
                    )
                    .unwrap();
                Box::new(ToyConnection { exchange, id, user })
            })
            .subprotocol(Some("toy.v1")))
        }
        .boxed()
    }
}

impl HttpApp for ToyApp {
    fn matches(&self, path: &str) -> bool {
        path.starts_with("/toys") || path == "/health"
    }

    fn body_limit(&self) -> usize {
        8
    }

    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse> {
        if request.header("x-no").is_some() {
            return Err(AppResponse::json(401, "\"no\""));
        }
        Ok(Box::new(|request| {
            let body = Bytes::from(format!(
                "{} {} {}",
                request.method(),
                request.path(),
                String::from_utf8_lossy(&request.body)
            ));
            async move { AppResponse::json(202, body) }.boxed()
        }))
    }

    fn error_response(&self, status: u16, _: &'static str, message: &'static str) -> AppResponse {
        AppResponse::json(status, format!("{message:?}"))
    }
}

fn server(is_dedicated: bool) -> (TestServer, ToyApp) {
    let toy = ToyApp {
        exchange: Arc::new(EventBus::new(PresenceOffPolicy, || 0)),
    };
    let mounts = AppMounts {
        apps: vec!["toy"],
        http_apps: vec![Arc::new(toy.clone())],
        websocket_apps: vec![Arc::new(toy.clone())],
        is_dedicated,
        ..AppMounts::default()
    };
    (
        TestServer::start_with(HttpBackend::new(Config::default()), mounts),
        toy,
    )
}

/// Builds a short text or binary frame of a client, masked with zeros.
fn masked(opcode: u8, text: &str) -> Vec<u8> {
    let head = [
        0x80 | opcode,
        0x80 | u8::try_from(text.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    [&head, text.as_bytes()].concat()
}

async fn upgrade(server: &TestServer, path: &str) -> TcpStream {
    let mut socket = server.connect().await;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let head = read_until(&mut socket, "\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101")
            && head
                .to_lowercase()
                .contains("sec-websocket-protocol: toy.v1"),
        "{head}"
    );
    socket
}

async fn send_text(socket: &mut TcpStream, text: &str) {
    socket.write_all(&masked(1, text)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn app_clients_receive_each_others_messages_and_are_removed() {
    let (server, toy) = server(false);
    let (mut one, mut two) = (
        upgrade(&server, "/toy?user=a").await,
        upgrade(&server, "/ws?user=b").await,
    );
    eventually(|| (toy.exchange.totals().connections == 2).then_some(())).await;
    send_text(&mut one, "hello").await;
    read_until(&mut one, "\"hello\"").await;
    read_until(&mut two, "\"hello\"").await;
    send_text(&mut two, "ask").await;
    read_until(&mut two, "told later").await;
    two.write_all(&masked(2, "abc")).await.unwrap();
    read_until(&mut two, "3 bytes").await;
    send_text(&mut one, "behind").await;
    let seen = read_until(&mut one, "second").await;
    assert!(
        seen.contains("first"),
        "events come before what is sent behind them: {seen:?}"
    );
    send_text(&mut one, "native").await;
    send_text(&mut one, "bye").await;
    let seen = read_until(&mut one, "as you wish").await;
    assert!(
        !seen.contains("pong"),
        "the native protocol requires a token"
    );
    eventually(|| (toy.exchange.totals().connections == 1).then_some(())).await;
    drop(two);
    eventually(|| (toy.exchange.totals().connections == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn app_client_is_closed_by_a_kick_and_by_shutdown() {
    let (server, toy) = server(false);
    let mut kicked = upgrade(&server, "/toy?user=a").await;
    let mut last = upgrade(&server, "/toy?user=b").await;
    eventually(|| (toy.exchange.totals().connections == 2).then_some(())).await;
    let id = eventually(|| {
        toy.exchange
            .connections_of(&UserId::new("a"))
            .first()
            .copied()
    })
    .await;
    assert!(toy.exchange.kick(id, "kicked"));
    read_until(&mut kicked, "kicked").await;
    let clients = server.state.shards.list_clients("b", 10).await.clients;
    assert_eq!((clients.len(), clients[0].dialect), (1, "toy"));
    let shutdown = server
        .state
        .shards
        .shutdown(std::time::Duration::ZERO, super::TEST_TIMEOUT);
    let closing = async {
        let seen = read_until(&mut last, "server restarting").await;
        assert!(seen.contains("the end is near"), "{seen:?}");
        let _ = last.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await;
        let mut rest = Vec::new();
        let _ = last.read_to_end(&mut rest).await;
        drop(kicked);
    };
    assert!(tokio::join!(shutdown, closing).0);
    assert_eq!(toy.exchange.totals().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn app_addresses_follow_the_servers_own() {
    let (server, _) = server(false);
    let answer = server.request("PUT /toys/a%20b?x=1", &[], "12345678").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (202, "PUT /toys/a%20b 12345678")
    );
    let answer = server.request("POST /toys", &[], "123456789").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (413, "\"the body is too large\"")
    );
    assert_eq!(
        server
            .request("POST /toys", &["X-No: 1"], "123456789")
            .await
            .status,
        401,
        "before the body"
    );
    assert_eq!(
        server.get("/health", &[]).await.status,
        200,
        "the server's own address comes first on a shared listener"
    );
    let refused: Seen = server.get("/toy", &["Upgrade: websocket"]).await;
    assert_eq!(refused.status, 426);
    let handshake = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
    ];
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let headers = [handshake[0], handshake[1], handshake[2], key];
    assert_eq!(
        server.get("/toy", &headers).await.body,
        "\"who?\"",
        "the app's own error"
    );
    let with_token = server
        .get(&format!("/ws?token={}x", token("u", 60, None)), &headers)
        .await;
    assert_eq!(
        with_token.status, 401,
        "a request with a token does not reach the app"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dedicated_listener_tries_the_app_first() {
    let (server, _) = server(true);
    assert_eq!(server.get("/health", &[]).await.status, 202);
    assert_eq!(
        server.get("/ready", &[]).await.status,
        200,
        "the server's own addresses are served as well"
    );
}
