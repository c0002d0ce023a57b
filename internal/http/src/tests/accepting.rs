//! Accepting connections: shards take turns, early bytes are read, and the last connections get a
//! response.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Mutex;
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::backend::admin;
use super::upgrades::{UPGRADE, frame};
use super::*;
use crate::serve::listener_context;
use latido_admission::{
    self as admission, Acceptor, ConnectionLimits, PendingConnection, TrustedProxies,
};
use latido_base::clock::simulated;
use latido_session::{SessionContext, SessionLimits};
use latido_shard::{
    self as shard, ConnectionHandler, ListenerContext, RequestHandler, Shards, SimulatedShard,
};
use latido_telemetry::Metrics;

fn shard_deps(server: &TestServer) -> shard::ShardDeps {
    let ServerState {
        hub,
        catalog,
        policy,
        verifier,
        clock,
        metrics,
        ..
    } = &*server.state;
    shard::ShardDeps {
        hub: Arc::clone(hub),
        context: SessionContext {
            catalog: Arc::clone(catalog),
            policy: Arc::clone(policy),
            limits: SessionLimits::default(),
        },
        request_handler: RequestHandler {
            verifier: Arc::clone(verifier),
            policy: Arc::clone(policy),
            catalog: Arc::clone(catalog),
        },
        clock: clock.clone(),
        metrics: Arc::clone(metrics),
        drain: server.backend_drain.clone(),
    }
}

fn listen() -> std::net::TcpListener {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Builds the context of a listener that accepts so many connections and hands them to `http`.
fn context(
    server: &TestServer,
    max_connections: usize,
    http: Arc<dyn ConnectionHandler>,
) -> (Arc<ListenerContext>, Arc<Metrics>) {
    let limits = ConnectionLimits::new(&admission::Config {
        max_connections,
        ..admission::Config::default()
    });
    let metrics = Arc::new(Metrics::new());
    let acceptor = Acceptor::new(
        limits,
        TrustedProxies::default(),
        TEST_TIMEOUT,
        Arc::clone(&metrics),
        &server.backend_drain,
    );
    let context = ListenerContext {
        acceptor: Arc::new(acceptor),
        rules: Arc::clone(&server.state.rules),
        app_tokens: None,
        in_band_upgrade: None,
        mount: None,
        http,
    };
    (Arc::new(context), metrics)
}

/// Records the accepting thread of each connection, and closes every connection.
#[derive(Default)]
struct RecordingHandler(Mutex<Vec<String>>);

impl RecordingHandler {
    fn accepting_threads(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl ConnectionHandler for RecordingHandler {
    fn serve_http(self: Arc<Self>, _: PendingConnection, _: &[u8]) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(name);
    }
}

#[tokio::test]
async fn shards_accept_equally_many() {
    let server = TestServer::with(Config::default());
    for threads in 1..=3 {
        let shards = Shards::start(shard::Config { threads }, &shard_deps(&server)).unwrap();
        let (socket, recorder) = (listen(), Arc::new(RecordingHandler::default()));
        let (context, _) = context(&server, 1_000, Arc::clone(&recorder) as _);
        let address = socket.local_addr().unwrap();
        let registration = shards.serve_listener(socket, context);
        let mut kept = Vec::new();
        for count in 1..=100 {
            let mut client = TcpStream::connect(address).await.unwrap();
            // A byte that begins no request, so that the shard hands the connection to HTTP.
            client.write_all(b"x").await.unwrap();
            kept.push(client);
            // Connections arrive one by one at first, then many at once.
            if count < 50 || count == 100 {
                eventually(|| (recorder.accepting_threads().len() == count).then_some(())).await;
            }
        }
        let mut shares = HashMap::new();
        recorder
            .accepting_threads()
            .into_iter()
            .for_each(|thread| *shares.entry(thread).or_insert(0) += 1);
        let (least, most) = (
            shares.values().min().unwrap(),
            shares.values().max().unwrap(),
        );
        assert!(shares.len() == threads && most - least <= 16, "{shares:?}");
        drop(registration);
        assert!(
            TcpStream::connect(address).await.is_err(),
            "the listener is closed"
        );
    }
}

#[tokio::test]
async fn shard_backs_off_while_accepting_fails() {
    let server = TestServer::with(Config::default());
    let parts = shard_deps(&server);
    let (context, metrics) = context(&server, 0, Arc::new(RecordingHandler::default()));
    let refused = move || {
        metrics
            .refusals
            .values()
            .iter()
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    // A thread of its own, because simulated time belongs to a thread.
    let shard = std::thread::spawn(move || {
        // Bound but not listening: each accept fails with an error of the server, not of a peer.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let (mut shard, mut now) = (SimulatedShard::new(parts), Instant::now());
        let _registration = shard.serve_listener(socket.try_clone().unwrap().into(), context);
        for pause in [20, 40, 80, 160, 320, 640, 1_000, 1_000] {
            simulated::set(now, Duration::ZERO);
            assert!(shard.run_until_idle(), "the accept loop spins");
            let deadline = shard.next_wakeup().unwrap();
            assert_eq!(deadline - now, Duration::from_millis(pause));
            simulated::set(now + Duration::from_millis(pause - 1), Duration::ZERO);
            assert!(shard.run_until_idle());
            assert_eq!(
                shard.next_wakeup().unwrap(),
                deadline,
                "not before its time"
            );
            now = deadline;
        }
        socket.listen(8).unwrap();
        let _clients = [(); 2].map(|()| std::net::TcpStream::connect(address).unwrap());
        assert!(shard.run_until_idle());
        assert_eq!(refused(), 0, "the accept loop still backs off");
        simulated::set(now, Duration::ZERO);
        assert!(shard.run_until_idle());
        assert_eq!(refused(), 2);
        assert_eq!(shard.next_wakeup(), None);
    });
    shard.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_before_the_accept_are_answered() {
    let server = TestServer::with(Config::default());
    let mounts = AppMounts::default();
    let context = Arc::new(listener_context(&server.state, &mounts));
    let (mut shard, socket) = (SimulatedShard::new(shard_deps(&server)), listen());
    let address = socket.local_addr().unwrap();
    let _registration = shard.serve_listener(socket, context);
    let send = |bytes: &[u8], ends: bool| {
        let mut client = std::net::TcpStream::connect(address).unwrap();
        client.write_all(bytes).unwrap();
        if ends {
            client.shutdown(Shutdown::Write).unwrap();
        }
        client
    };
    let head = format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n",
        admin(),
        UPGRADE.join("\r\n")
    );
    let ping = frame(r#"{"type":"ping"}"#);
    let mut early = send(&[head.as_bytes(), &ping].concat(), false);
    // More bytes than one read takes, and then the end of the stream.
    let mut long = send(&[head.as_bytes(), &ping.repeat(1_000)].concat(), true);
    let (mut other, mut refused) = (
        send(
            b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            false,
        ),
        send(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", false),
    );
    let (mut late, gone) = (send(b"", false), send(b"", true));
    assert!(shard.run_until_idle());
    assert_eq!(
        shard.slots_in_use(),
        2,
        "the first, and the one without a request"
    );

    let read_for = |client: &mut std::net::TcpStream, text: &str| {
        let mut seen = Vec::new();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut more = [0; 1024];
            let count = client.read(&mut more).unwrap();
            assert_ne!(count, 0, "closed before {text:?}");
            seen.extend_from_slice(&more[..count]);
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    assert!(read_for(&mut early, r#"{"type":"pong"}"#).starts_with("HTTP/1.1 101 "));
    assert!(read_for(&mut long, r#"{"type":"pong"}"#).starts_with("HTTP/1.1 101 "));
    assert!(read_for(&mut other, "uptime").starts_with("HTTP/1.1 200 "));
    assert!(read_for(&mut refused, "\r\n\r\n").starts_with("HTTP/1.1 401 "));
    late.write_all(head.as_bytes()).unwrap();
    assert!(shard.run_until_idle());
    read_for(&mut late, "\r\n\r\n");
    drop((early, long, other, refused, late, gone));
    assert!(shard.run_until_idle());
    assert_eq!(shard.slots_in_use(), 0);
    eventually(|| (server.state.rules.limits.in_use() == 0).then_some(())).await;
}

#[tokio::test]
async fn connections_not_accepted_before_the_stop_get_a_response() {
    let server = TestServer::with(Config {
        drain_grace: TEST_TIMEOUT,
        ..Config::default()
    });
    assert!(
        server
            .state
            .shards
            .shutdown(Duration::ZERO, TEST_TIMEOUT)
            .await,
        "without clients they end at once"
    );
    let mut last = Vec::new();
    for path in ["/health", "/ws"] {
        let mut socket = server.connect().await;
        socket
            .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
            .await
            .unwrap();
        last.push(socket);
    }
    assert_eq!(
        server.state.rules.limits.in_use(),
        0,
        "no shard accepts them"
    );
    server.state.drain.stop();
    let [health, ws] = &mut last[..] else {
        unreachable!()
    };
    assert_eq!(TestResponse::read(health).await.status, 200);
    assert_eq!(TestResponse::read(ws).await.code(), "draining");
    assert_eq!(server.state.drain.drain(TEST_TIMEOUT).await, 0);
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "the listener is closed"
    );
}
