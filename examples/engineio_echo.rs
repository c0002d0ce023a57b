//! An Engine.IO server that echoes messages, on the product's accept loop, shards and sessions: for
//! the public test suites of the protocol, versions 3 and 4.
//!
//! `cargo run --example engineio_echo [port]`; the port is 3000 unless the argument or `PORT` says
//! otherwise. It answers at `/engine.io/` and `/socket.io/`. A client has 200 ms to answer a ping,
//! as the suites expect, unless `PING_TIMEOUT_MS` gives it longer.

#[path = "parts/shards.rs"]
mod shards;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use latido_base::drain::Drain;
use latido_shard::HandlerSpec;
use latido_socketio::{
    Config, MessageService, MountedService, Replies, RequestKind, SocketIoMount,
};

const PING_INTERVAL: Duration = Duration::from_millis(300);
/// The suite of version 3 misses a first packet that arrives together with the `101`.
const OPEN_DELAY: Duration = Duration::from_millis(20);

struct Echo;

impl MessageService for Echo {
    fn on_text(&self, text: &str, replies: &mut Replies<'_>) {
        replies.send_text(text);
    }

    fn on_binary(&self, bytes: &[u8], replies: &mut Replies<'_>) {
        replies.send_binary(bytes);
    }
}

/// One service a path.
struct Paths([Arc<SocketIoMount>; 2]);

impl Paths {
    fn new(ping_timeout: Duration, drain: &Drain) -> Self {
        let config = Config {
            ping_interval: PING_INTERVAL,
            ping_timeout,
            open_delay: OPEN_DELAY,
            ..Config::default()
        };
        Self(
            ["/engine.io", "/socket.io"]
                .map(|path| SocketIoMount::messages(path, &config, Arc::new(Echo), drain)),
        )
    }

    fn of(&self, path: &str) -> &SocketIoMount {
        let [first, second] = &self.0;
        if first.matches(path) { first } else { second }
    }
}

impl MountedService for Paths {
    fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|one| one.matches(path))
    }

    fn body_limit(&self, head: &Parts) -> usize {
        self.of(head.uri.path()).body_limit(head)
    }

    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
        self.of(head.uri.path()).classify(head)
    }

    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        self.of(request.uri().path()).handle(request)
    }

    fn upgrade(&self, head: Parts) -> Result<HandlerSpec, Box<Response<Bytes>>> {
        self.of(head.uri.path()).upgrade(head)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let ping_timeout_ms = std::env::var("PING_TIMEOUT_MS").map_or(Ok(200), |ms| ms.parse())?;
    let drain = Drain::new();
    let paths = Paths::new(Duration::from_millis(ping_timeout_ms), &drain);
    shards::serve(Arc::new(paths), &drain).await
}
