//! Restarts: one server replaces another, no connection is refused, and every client ends with the
//! right numbers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::harness::{
    B1, CommandHome, OTHER_USER, ReservedPort, RunningCommand, TestApp, booking_sql, claims,
    wait_until, within,
};

const WANTED: usize = 10_000;
/// The number of connections that are opened at the same time.
const CONNECT_BATCH: usize = 200;
/// The number of open files that this process and the server need for everything else.
const OTHER_FILES: u64 = 1_000;

/// The settings for two servers that share one address.
struct RestartSetup {
    /// The owner of the database, and a third server on it.
    app: TestApp,
    home: CommandHome,
    url: String,
}

impl RestartSetup {
    async fn new() -> Self {
        let app = TestApp::start().await;
        Self {
            home: CommandHome::new(),
            url: app.database_url(),
            app,
        }
    }

    fn variables<'a>(
        &'a self,
        port: &'a str,
        more: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let fixed = [
            ("DATABASE_URL", self.url.as_str()),
            ("JWT_SECRET", claims::SECRET),
            ("HOST", "127.0.0.1"),
            ("PORT", port),
        ];
        fixed.into_iter().chain(more.iter().copied()).collect()
    }

    fn token(&self) -> String {
        self.app
            .sign(&json!({"id": OTHER_USER, "negocio_id": B1, "exp": claims::now() + 3600}))
    }
}

/// Returns the number of connections that the limits of this process allow, up to [`WANTED`].
fn affordable_connections() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _unchanged_on_error = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
        .saturating_sub(OTHER_FILES);
    usize::try_from(files).unwrap_or(usize::MAX).min(WANTED)
}

/// Connects a cheap client that subscribes and reads until the server closes it. Returns the close
/// code.
async fn run_client(
    address: SocketAddr,
    token: Arc<str>,
    subscribed: Arc<AtomicU64>,
) -> Option<u16> {
    let mut socket = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.ok()?;
    let subscribe = format!(r#"{{"type":"subscribe","channel":"estadisticas:{B1}"}}"#);
    let head = [
        0x81,
        0x80 | u8::try_from(subscribe.len()).expect("short"),
        0,
        0,
        0,
        0,
    ];
    let mut bytes = Vec::new();
    let mut asked = false;
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if !asked {
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return None;
            }
            bytes.drain(..end + 4);
            socket
                .write_all(&[&head, subscribe.as_bytes()].concat())
                .await
                .ok()?;
            asked = true;
        }
        while let Some((opcode, payload)) = next_frame(&mut bytes) {
            match opcode {
                0x8 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    let _gone = socket
                        .write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xf4])
                        .await;
                    return code;
                }
                // On a busy machine, connecting all clients takes longer than a silence may last.
                0x9 => {
                    let length = u8::try_from(payload.len()).expect("a control frame is short");
                    let pong = [&[0x8a, 0x80 | length, 0, 0, 0, 0], &*payload].concat();
                    socket.write_all(&pong).await.ok()?;
                }
                0x1 if payload.starts_with(br#"{"type":"stats""#) => {
                    subscribed.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }
}

fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, short) = (*bytes.first()?, *bytes.get(1)?);
    let (length, head) = match short {
        126 => (
            usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])),
            4,
        ),
        length => (usize::from(length), 2),
    };
    let payload = bytes.get(head..head + length)?.to_vec();
    bytes.drain(..head + length);
    Some((first & 0x0f, payload))
}

/// Returns the total from a line of `watch --json`.
fn total(line: &str) -> Option<i64> {
    let frame: Value = serde_json::from_str(line).ok()?;
    (frame["type"] == "stats").then(|| frame["data"]["total_citas"].as_i64().expect("a number"))
}

/// Connects clients in batches, each of which is subscribed before the next one starts.
async fn connect_in_batches(
    address: SocketAddr,
    token: &Arc<str>,
    many: usize,
) -> JoinSet<Option<u16>> {
    let subscribed = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    while clients.len() < many {
        let wave = CONNECT_BATCH.min(many - clients.len());
        (0..wave).for_each(|_| {
            drop(clients.spawn(run_client(
                address,
                Arc::clone(token),
                Arc::clone(&subscribed),
            )))
        });
        let expected = clients.len() as u64;
        wait_until("the batch is subscribed", async || {
            subscribed.load(Ordering::Relaxed) >= expected
        })
        .await;
    }
    clients
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stderr,
    reason = "the number of connections that this machine allows is of interest"
)]
async fn ten_thousand_clients_move_to_the_next_server_without_loss() {
    let place = RestartSetup::new().await;
    let more = [("REUSE_PORT", "true"), ("SHUTDOWN_SECONDS", "60")];
    let first = place.home.start(&["serve"], &place.variables("0", &more));
    let address = first.ready_address().await;
    let token = Arc::<str>::from(place.token());
    let url = format!("ws://{address}");
    let watch = place.home.start(
        &[
            "watch",
            &format!("estadisticas:{B1}"),
            "--url",
            &url,
            "--json",
        ],
        &[("LATIDO_TOKEN", &token)],
    );
    watch
        .wait_for_stdout("numbers", |line| total(line) == Some(0))
        .await;
    let many = affordable_connections();
    let mut clients = connect_in_batches(address, &token, many).await;
    // The next version starts on the same address before this one stops.
    let port = address.port().to_string();
    let second = place.home.start(&["serve"], &place.variables(&port, &more));
    second.ready_address().await;
    let begun = Instant::now();
    first.signal(Signal::TERM);
    let mut codes = Vec::new();
    let mut last = Duration::ZERO;
    while let Some(code) = within(clients.join_next()).await {
        codes.push(code.expect("no client panics"));
        last = begun.elapsed();
    }
    assert_eq!(
        first.wait_for_exit().await.code,
        Some(0),
        "all clients disconnected within the deadline"
    );
    let reconnecting = codes.iter().filter(|code| **code == Some(1012)).count();
    eprintln!("{reconnecting} of {many} left with 1012, the last after {last:.1?}");
    assert_eq!(reconnecting, many);
    watch
        .wait_for_stderr("the reason of the disconnect", |line| line.contains("1012"))
        .await;
    place
        .app
        .connect_database()
        .await
        .batch_execute(&booking_sql(B1, "pendiente", 0))
        .await
        .expect("booked");
    watch
        .wait_for_stdout("the change, from the second server", |line| {
            total(line) == Some(1)
        })
        .await;
    drop(second);
}

/// The threads that open connections without a pause.
const CLIENTS: u64 = 4;
/// The number of times that a server is replaced.
const RESTARTS: u64 = 3;

/// The outcomes of connections that were opened without a pause.
#[derive(Debug, Default)]
struct RestartLoad {
    served: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
}

impl RestartLoad {
    /// Requests `/health` over a new connection, repeatedly.
    fn send_requests(&self, address: SocketAddr, done: &AtomicBool) {
        while !done.load(Ordering::Relaxed) {
            let counter = match TcpStream::connect(address).map(request_health) {
                // A reset is not a refusal: the kernel had completed the connection, and its
                // listener closed before the client noticed.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => &self.reset,
                Err(_) => &self.refused,
                Ok(true) => &self.served,
                Ok(false) => &self.reset,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn request_health(mut socket: TcpStream) -> bool {
    let mut answer = String::new();
    let asked = socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    asked.is_ok()
        && socket.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

/// Replaces one server by the next under load, several times.
async fn replace_servers_under_load(
    address: SocketAddr,
    mut start: impl AsyncFnMut() -> RunningCommand,
) -> Arc<RestartLoad> {
    let (load, done) = (
        Arc::new(RestartLoad::default()),
        Arc::new(AtomicBool::new(false)),
    );
    let mut running = start().await;
    let pressing: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (load, done) = (Arc::clone(&load), Arc::clone(&done));
            std::thread::spawn(move || load.send_requests(address, &done))
        })
        .collect();
    for _ in 0..RESTARTS {
        let served = load.served.load(Ordering::Relaxed);
        wait_until("the server serves", async || {
            load.served.load(Ordering::Relaxed) > served + 100
        })
        .await;
        let next = start().await;
        running.signal(Signal::TERM);
        assert_eq!(running.wait_for_exit().await.code, Some(0));
        running = next;
    }
    let served = load.served.load(Ordering::Relaxed);
    wait_until("the last server serves", async || {
        load.served.load(Ordering::Relaxed) > served + 100
    })
    .await;
    done.store(true, Ordering::Relaxed);
    pressing
        .into_iter()
        .for_each(|thread| thread.join().expect("no thread panics"));
    load
}

#[tokio::test(flavor = "multi_thread")]
async fn inherited_socket_refuses_no_connection() {
    let place = RestartSetup::new().await;
    // systemd would hold this socket for the server.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let port = address.port().to_string();
    let variables = place.variables(&port, &[]);
    let load = replace_servers_under_load(address, async || {
        let server = place
            .home
            .start_with_socket(&socket, &["serve"], &variables);
        assert_eq!(server.ready_address().await, address);
        server
    });
    let load = load.await;
    let bad = [&load.refused, &load.reset].map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!(bad, [0, 0], "refused, and cut: {load:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_port_refuses_no_connection() {
    let place = RestartSetup::new().await;
    let port = ReservedPort::new();
    let number = port.number();
    let variables = place.variables(&number, &[("REUSE_PORT", "true")]);
    let load = replace_servers_under_load(port.address(), async || {
        let server = place.home.start(&["serve"], &variables);
        // A request to the address is no proof, because the other server answers there as well.
        server
            .wait_for_stderr("the server serves", |line| {
                line.contains("streams prepared")
            })
            .await;
        server
    });
    let load = load.await;
    assert_eq!(load.refused.load(Ordering::Relaxed), 0, "{load:?}");
    // A connection that the kernel completed between the last accept and the close is reset, unless
    // the kernel may migrate it (net.ipv4.tcp_migrate_req). This is rare and documented. Each client
    // has one connection at a time, so it loses at most one at each restart.
    let reset = load.reset.load(Ordering::Relaxed);
    assert!(reset <= CLIENTS * RESTARTS, "{load:?}");
}
