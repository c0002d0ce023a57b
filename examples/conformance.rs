//! An echo server for public WebSocket suites (Autobahn's, say), on the framing, the sessions and the shards of the product.
//!
//! `cargo run --release --example conformance [PORT]`: 9001 unless said otherwise there or in `PORT`; on 127.0.0.1, or where `HOST` says. It
//! wants no token and answers on any path: whatever text or binary message comes goes back as it was. Messages may have 64 MiB.

use std::env;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use latido_admission::{PermitSet, SEND_BUFFER_BYTES};
use latido_auth::{
    PermissionFuture, PermissionQuestion, PermissionSource, Policy, PolicyConfig, Verifier,
    VerifierConfig,
};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_base::ident::{Topic, UserId};
use latido_event_bus::BusEvent;
use latido_hub::{Hub, WatchObserver};
use latido_protocol::Frame;
use latido_protocol::websocket::handshake::{self, UpgradeHeaders};
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{
    self as shard, Actions, AsyncResult, ClientMessage, ConnectionKind, HandlerSpec,
    ProtocolHandler, RequestHandler, Shards, Timestamp, UpgradedConnection,
};
use latido_stream::{Catalog, Stream};
use latido_telemetry::Metrics;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const PORT: u16 = 9001;
const CONNECTIONS: usize = 1_000;
const HEAD_BYTES: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Suites send as fast as they can, and 16 MiB at once.
pub(crate) const LIMITS: SessionLimits = SessionLimits {
    message_bytes: 64 * 1024 * 1024,
    channels: 0,
    param_sets_per_key: 0,
    messages_per_second: u32::MAX,
    message_burst: u32::MAX,
    heartbeat_s: 25,
    idle_timeout_s: 120,
    slow_client_s: 60,
    expiry_notice_s: 0,
};

/// Says what it hears.
struct Echo;

impl ProtocolHandler for Echo {
    fn on_message(&mut self, heard: ClientMessage<'_>, _: Timestamp, acts: &mut Actions<'_>) {
        acts.send(match heard {
            ClientMessage::Text(text) => Frame::text(text),
            ClientMessage::Binary(bytes) => Frame::binary(bytes),
        });
    }

    fn on_async_result(&mut self, _: AsyncResult, _: Timestamp, _: &mut Actions<'_>) {}

    /// It is on no topic, so there are none.
    fn encode(&self, _: &BusEvent) -> Frame {
        Frame::text("")
    }

    fn user(&self) -> Option<&UserId> {
        None
    }
}

/// Nobody asks.
struct Nobody;

impl PermissionSource for Nobody {
    fn allowed<'a>(&'a self, _: &'a Stream, _: PermissionQuestion<'a>) -> PermissionFuture<'a> {
        Box::pin(async { Ok(false) })
    }
}

impl WatchObserver for Nobody {
    fn on_watched(&self, _: &Topic) {}
    fn on_unwatched(&self, _: &Topic) {}
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind(address()?).await?;
    report(listener.local_addr()?);
    serve(listener, LIMITS).await
}

/// Echoes until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, limits: SessionLimits) -> anyhow::Result<()> {
    let (drain, places) = (Drain::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    let shards = Arc::new(shards(&drain, limits)?);
    loop {
        let permit = Arc::clone(&places).acquire_owned().await?;
        let (socket, _) = listener.accept().await?;
        let shards = Arc::clone(&shards);
        drain.spawn(async move {
            // A suite sees for itself that it was refused.
            let Ok(Ok((socket, early))) = tokio::time::timeout(HEAD_TIMEOUT, welcome(socket)).await
            else {
                return;
            };
            let boarding = HandlerSpec::new("echo", |_| Box::new(Echo)).limits(limits);
            let entrant = ConnectionKind::App(Box::new(boarding));
            shards.add_upgraded(UpgradedConnection {
                socket,
                early_bytes: early,
                kind: entrant,
                permits: PermitSet::new(permit),
            });
        });
    }
}

fn address() -> anyhow::Result<SocketAddr> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok());
    let port = port.map_or(Ok(PORT), |text| {
        text.parse()
            .context("expected a port, as the first argument or in PORT")
    })?;
    let host = env::var("HOST").map_or(Ok(Ipv4Addr::LOCALHOST.into()), |text| {
        text.parse::<IpAddr>()
    });
    Ok(SocketAddr::new(
        host.context("expected an IP address in HOST")?,
        port,
    ))
}

#[expect(clippy::print_stdout, reason = "whoever starts it waits for this line")]
fn report(address: SocketAddr) {
    println!("listening on ws://{address}/");
}

fn shards(drain: &Drain, limits: SessionLimits) -> anyhow::Result<Shards> {
    let catalog = Arc::new(Catalog::new(Vec::new()));
    let clock = Clock::system();
    let policy = Arc::new(Policy::new(PolicyConfig::default(), Arc::new(Nobody)));
    let verifier = Arc::new(Verifier::new(&VerifierConfig::default(), clock.clone())?);
    let parts = shard::ShardDeps {
        hub: Arc::new(Hub::new(Arc::clone(&catalog), Box::new(Nobody))),
        context: SessionContext {
            catalog: Arc::clone(&catalog),
            policy: Arc::clone(&policy),
            limits,
        },
        request_handler: RequestHandler {
            verifier,
            policy,
            catalog,
        },
        clock,
        metrics: Arc::new(Metrics::new()),
        drain: drain.clone(),
    };
    Ok(Shards::start(shard::Config { threads: 2 }, &parts)?)
}

/// Reads a request's head, judges it, and answers; what came behind it is the first of the frames.
async fn welcome(mut socket: TcpStream) -> anyhow::Result<(std::net::TcpStream, Bytes)> {
    let mut said = Vec::new();
    let head = loop {
        if let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if said.len() > HEAD_BYTES || socket.read_buf(&mut said).await? == 0 {
            bail!("no complete head");
        }
    };
    let answer = answer(&said[..head]);
    let (Ok(text) | Err(text)) = &answer;
    socket.write_all(text.as_bytes()).await?;
    if answer.is_err() {
        bail!("refused");
    }
    let socket = socket.into_std()?;
    tune(&SockRef::from(&socket))?;
    Ok((socket, Bytes::copy_from_slice(&said[head..])))
}

fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)
}

/// The 101, or else the refusal.
fn answer(head: &[u8]) -> Result<String, String> {
    let bad_request =
        || "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut lines);
    if request.parse(head).is_err() || request.method != Some("GET") || request.version != Some(1) {
        return Err(bad_request());
    }
    let header = |name: &str| {
        let values = request
            .headers
            .iter()
            .filter(|line| line.name.eq_ignore_ascii_case(name));
        values
            .map(|line| String::from_utf8_lossy(line.value))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let offer = UpgradeHeaders {
        upgrade: &header("upgrade"),
        connection: &header("connection"),
        version: &header("sec-websocket-version"),
        key: &header("sec-websocket-key"),
    };
    let accept = handshake::accept(&offer).map_err(|_| bad_request())?;
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}
