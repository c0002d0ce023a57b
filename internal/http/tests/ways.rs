//! The short way to a WebSocket and the long one: whatever is asked, the answer is the same.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config as Runs, TestCaseError, TestRunner};

use super::upgrades::{answer, frame, hear};
use super::world::{admin, token};
use super::*;
use crate::http::connection::Front;
use crate::http::knock;
use crate::http::routes::routes;
use crate::shard::{Caller, Porter as _};

const ORIGIN: &str = "https://panel.example.com";

/// A head that asks for a WebSocket, or nearly; a good one about every fourth time.
fn head() -> impl Strategy<Value = String> {
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
    let version_of_it = usually(
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
    let long = format!("X-Long: {}", "x".repeat(5_000));
    let stale = format!("Authorization: Bearer {}", token("u1", -600, None));
    let rest = vec![
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
    ];
    let rest = prop::collection::vec(select(rest), 0..4);
    let lines = (upgrade, connection, version_of_it, key, rest);
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

fn usually(
    good: &'static str,
    other: &[&'static str],
) -> impl Strategy<Value = &'static str> + use<> {
    prop_oneof![12 => Just(good), 1 => select(other.to_vec())]
}

/// What is compared: everything but the date, which hyper adds and a 101 need not have.
async fn said(socket: &mut TcpStream) -> (u16, Vec<String>, String) {
    let answer = answer(socket).await;
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

/// A connection on which `head` was said to hyper, cut in two, whatever a shard would have made of it.
async fn long_way(front: &Arc<Front>, head: &[u8], cut: usize) -> TcpStream {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (socket, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let (mut socket, (accepted, address)) = (socket.unwrap(), accepted.unwrap());
    let permit = front.seats.take(Some(address.ip())).unwrap().0;
    let caller = Caller {
        socket: accepted.into_std().unwrap(),
        address,
        permit,
        since: Instant::now(),
    };
    Arc::clone(front).take_back(caller, &head[..cut]);
    socket.write_all(&head[cut..]).await.unwrap();
    socket
}

async fn both(
    server: &TestServer,
    front: &Arc<Front>,
    head: &str,
    cut: Index,
) -> Result<bool, TestCaseError> {
    let ping = frame(r#"{"type":"ping"}"#);
    let admitted = knock::admit(&server.doors, None, head.as_bytes(), server.address);
    let bytes = [
        head.as_bytes(),
        if admitted.is_some() {
            ping.as_slice()
        } else {
            &[]
        },
    ]
    .concat();
    let mut short = server.connect().await;
    short.write_all(&bytes).await.unwrap();
    let mut long = long_way(front, &bytes, cut.index(bytes.len())).await;
    if let Some(admitted) = &admitted {
        prop_assert_eq!(admitted.used, head.len());
        let short = hear(&mut short, r#"{"type":"pong"}"#).await;
        let long = hear(&mut long, r#"{"type":"pong"}"#).await;
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
        prop_assert!(short.starts_with("HTTP/1.1 101 "));
        prop_assert_eq!(lines(&short), lines(&long));
    } else {
        prop_assert_eq!(said(&mut short).await, said(&mut long).await);
    }
    Ok(admitted.is_some())
}

#[test]
fn both_ways_answer_alike() {
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
    let annex = crate::http::Annex::default();
    let front = Arc::new(Front::new(
        &server.doors,
        &annex,
        routes(&server.doors, &annex),
        None,
    ));
    let short = AtomicU32::new(0);
    let mut runner = TestRunner::new(Runs {
        cases: 96,
        failure_persistence: None,
        ..Runs::default()
    });
    let outcome = runner.run(&(head(), any::<Index>()), |(head, cut)| {
        let was_short = runtime.block_on(both(&server, &front, &head, cut))?;
        short.fetch_add(u32::from(was_short), Ordering::Relaxed);
        Ok(())
    });
    outcome.unwrap();
    assert!(short.into_inner() > 5, "the short way is taken");
    runtime.block_on(eventually(|| {
        (server.doors.seats.taken() == 0).then_some(())
    }));
}
