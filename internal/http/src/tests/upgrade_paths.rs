//! The fast and the regular path to a WebSocket must give the same response to every request.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config as Runs, TestCaseError, TestRunner};

use super::backend::{admin, token};
use super::upgrades::{frame, read_response, read_until_text};
use super::*;
use crate::serve::listener_context;
use latido_admission::PendingConnection;
use latido_shard::ConnectionHandler;

const ORIGIN: &str = "https://panel.example.com";

/// Generates the head of a WebSocket request, or of one that is nearly valid. About a quarter are
/// valid.
fn any_head() -> impl Strategy<Value = String> {
    let good = admin();
    let targets = [
        "/ws",
        "/ws?token=TOKEN",
        "/ws?x=1&token=TOKEN",
        "/ws?token=bad",
        "/ws/",
        "/wss",
        "/",
        "http://x/ws?token=TOKEN",
    ];
    let method = prop_oneof![9 => Just("GET"), 1 => select(vec!["POST", "OPTIONS", "get"])];
    let target = prop_oneof![3 => Just("/ws?token=TOKEN"), 1 => select(targets.to_vec())];
    let version = prop_oneof![9 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0")];
    let upgrade = usually(
        "Upgrade: websocket",
        &[
            "upgrade: WebSocket",
            "Upgrade: h2c, websocket",
            "Upgrade: h2c",
            "",
        ],
    );
    let connection = usually(
        "Connection: Upgrade",
        &[
            "connection:keep-alive, upgrade",
            "Connection: keep-alive",
            "",
        ],
    );
    let websocket_version = usually(
        "Sec-WebSocket-Version: 13",
        &[
            "sec-websocket-version:   13  ",
            "Sec-WebSocket-Version: 8",
            "",
        ],
    );
    let key = usually(
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        &["Sec-WebSocket-Key: x", "Sec-WebSocket-Key : y", ""],
    );
    let rest = prop::collection::vec(select(other_lines(&good)), 0..4);
    let lines = (upgrade, connection, websocket_version, key, rest);
    (method, target, version, lines).prop_map(
        move |(method, target, version, (a, b, c, d, rest))| {
            let mut head = format!(
                "{method} {} {version}\r\nHost: test\r\n",
                target.replace("TOKEN", &good)
            );
            for line in [a, b, c, d]
                .into_iter()
                .map(str::to_owned)
                .chain(rest)
                .filter(|line| !line.is_empty())
            {
                head += &format!("{line}\r\n");
            }
            head + "\r\n"
        },
    )
}

/// Returns the header lines that a request may contain besides those of the handshake.
fn other_lines(good: &str) -> Vec<String> {
    let long = format!("X-Long: {}", "x".repeat(5_000));
    let stale = format!("Authorization: Bearer {}", token("u1", -600, None));
    vec![
        format!("Authorization: Bearer {good}"),
        format!("Sec-WebSocket-Protocol: bearer, {good}"),
        format!("Origin: {ORIGIN}"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".into(),
        "Origin: https://evil.example".into(),
        "Authorization: Basic xyz".into(),
        "Content-Length: 0".into(),
        "Cookie: token=1".into(),
        "No colon".into(),
        "X-Bytes: \u{e9}".into(),
        stale,
        long,
    ]
}

/// Generates the valid line, and rarely one of the others.
fn usually(
    good: &'static str,
    other: &[&'static str],
) -> impl Strategy<Value = &'static str> + use<> {
    prop_oneof![12 => Just(good), 1 => select(other.to_vec())]
}

/// Reads a response for comparison, without the date, which hyper adds and a 101 need not have.
async fn comparable_response(socket: &mut TcpStream) -> (u16, Vec<String>, String) {
    let answer = read_response(socket).await;
    let mut lines: Vec<_> = answer
        .head
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("date: "))
        .map(str::to_owned)
        .collect();
    lines.sort();
    (answer.status, lines, answer.body)
}

/// Opens a connection whose `head` is handed to hyper in two pieces, bypassing the fast path.
async fn regular_path(
    server: &TestServer,
    http_server: &Arc<dyn ConnectionHandler>,
    head: &[u8],
    cut: usize,
) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (socket, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let (mut socket, (accepted, address)) = (socket.unwrap(), accepted.unwrap());
    let permit = server
        .state
        .rules
        .limits
        .acquire(Some(address.ip()))
        .unwrap();
    let pending = PendingConnection {
        socket: accepted.into_std().unwrap(),
        address,
        permits: permit,
        accepted_at: Instant::now(),
    };
    Arc::clone(http_server).serve_http(pending, &head[..cut]);
    socket.write_all(&head[cut..]).await.unwrap();
    socket
}

async fn compare_paths(
    server: &TestServer,
    http_server: &Arc<dyn ConnectionHandler>,
    head: &str,
    cut: Index,
) -> Result<bool, TestCaseError> {
    let ping = frame(r#"{"type":"ping"}"#);
    let upgraded = server
        .state
        .rules
        .try_upgrade(None, head.as_bytes(), server.address);
    let bytes = [
        head.as_bytes(),
        if upgraded.is_some() {
            ping.as_slice()
        } else {
            &[]
        },
    ]
    .concat();
    let mut fast = server.connect().await;
    fast.write_all(&bytes).await.unwrap();
    let mut regular = regular_path(server, http_server, &bytes, cut.index(bytes.len())).await;
    if let Some(upgraded) = &upgraded {
        prop_assert_eq!(upgraded.request_bytes, head.len());
        let fast = read_until_text(&mut fast, r#"{"type":"pong"}"#).await;
        let regular = read_until_text(&mut regular, r#"{"type":"pong"}"#).await;
        let lines = |text: &str| {
            let head = text.split("\r\n\r\n").next().unwrap().to_lowercase();
            let mut lines: Vec<_> = head
                .lines()
                .filter(|line| !line.starts_with("date: "))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        prop_assert!(fast.starts_with("HTTP/1.1 101 "));
        prop_assert_eq!(lines(&fast), lines(&regular));
    } else {
        prop_assert_eq!(
            comparable_response(&mut fast).await,
            comparable_response(&mut regular).await
        );
    }
    Ok(upgraded.is_some())
}

#[test]
fn fast_and_regular_path_give_the_same_response() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _within = runtime.enter();
    let server = TestServer::with(Config {
        origins: ORIGIN.parse().unwrap(),
        ..Config::default()
    });
    let mounts = crate::AppMounts::default();
    let http_server = listener_context(&server.state, &mounts).http;
    let fast_count = AtomicU32::new(0);
    let mut runner = TestRunner::new(Runs {
        cases: 96,
        failure_persistence: None,
        ..Runs::default()
    });
    let outcome = runner.run(&(any_head(), any::<Index>()), |(head, cut)| {
        let was_fast = runtime.block_on(compare_paths(&server, &http_server, &head, cut))?;
        fast_count.fetch_add(u32::from(was_fast), Ordering::Relaxed);
        Ok(())
    });
    outcome.unwrap();
    assert!(fast_count.into_inner() > 5, "the fast path is used");
    runtime.block_on(eventually(|| {
        (server.state.rules.limits.in_use() == 0).then_some(())
    }));
}
