//! An Engine.IO server that says back what it hears, on this project's accept loop and limits: for the protocol's public test suite.
//!
//! `cargo run --example engineio_echo [port]`; the port is 3000 unless the argument or `PORT` says otherwise. A client has 200 ms to
//! answer a ping, as the suite expects, unless `PING_TIMEOUT_MS` gives it longer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::{EngineIoService, NotFoundService};
use engineioxide::{DisconnectReason, Socket, Str};
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use latido_base::drain::Drain;
use latido_http::{Config, bind, serve_mount};
use latido_socketio::{DuplexStream, EngineIoMount, MountedService, PING_LEAD, RequestKind};

const MAX_PAYLOAD_BYTES: usize = 1_000_000;
const PING_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Echo;

impl EngineIoHandler for Echo {
    type Data = ();

    fn on_connect(self: Arc<Self>, _: Arc<Socket<()>>) {}

    fn on_disconnect(&self, _: Arc<Socket<()>>, _: DisconnectReason) {}

    fn on_message(self: &Arc<Self>, message: Str, socket: Arc<Socket<()>>) {
        let _ = socket.emit(message);
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<()>>) {
        let _ = socket.emit_binary(bytes);
    }
}

/// One service a path.
struct Paths([EngineIoMount<EngineIoService<Echo, NotFoundService>>; 2]);

impl Paths {
    fn new(ping_timeout: Duration, drain: &Drain) -> Self {
        Self(["/engine.io", "/socket.io"].map(|path| {
            let config = EngineIoConfig::builder()
                .req_path(path)
                .ping_interval(PING_INTERVAL - PING_LEAD)
                .ping_timeout(ping_timeout)
                .max_payload(MAX_PAYLOAD_BYTES as u64)
                .build();
            EngineIoMount::new(
                EngineIoService::with_config(Arc::new(Echo), config),
                path,
                MAX_PAYLOAD_BYTES,
                PING_INTERVAL,
                drain,
            )
        }))
    }

    fn of(&self, path: &str) -> &dyn MountedService {
        let [first, second] = &self.0;
        if first.matches(path) { first } else { second }
    }
}

impl MountedService for Paths {
    fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|one| one.matches(path))
    }

    fn body_limit(&self, _: &Parts) -> usize {
        MAX_PAYLOAD_BYTES
    }

    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>> {
        self.of(head.uri.path()).classify(head)
    }

    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> {
        self.of(request.uri().path()).handle(request)
    }

    fn take_upgraded(&self, line: Box<dyn DuplexStream>, head: Request<()>) {
        self.of(head.uri().path()).take_upgraded(line, head);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args()
        .nth(1)
        .or_else(|| std::env::var("PORT").ok())
        .map_or(Ok(3000), |port| port.parse())?;
    let ping_timeout_ms = std::env::var("PING_TIMEOUT_MS").map_or(Ok(200), |ms| ms.parse())?;
    let ping_timeout = Duration::from_millis(ping_timeout_ms);
    let listener = bind(&[([0_u16; 8], port).into(), ([0, 0, 0, 0], port).into()])?;
    report(listener.address().port());
    let drain = Drain::new();
    serve_mount(
        listener,
        &Config::default(),
        Arc::new(Paths::new(ping_timeout, &drain)),
        &drain,
    )
    .await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a test waits for this line")]
fn report(port: u16) {
    println!("listening on port {port}");
}
