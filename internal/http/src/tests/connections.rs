//! Connections, independent of their requests: limits, deadlines, the drain.

use super::backend::admin;
use super::*;

fn short_timeouts() -> Config {
    Config {
        head_timeout: Duration::from_millis(300),
        keep_alive: Duration::from_millis(1_500),
        drain_grace: Duration::from_secs(3),
        ..Config::default()
    }
}

#[tokio::test]
async fn connection_serves_several_requests() {
    let server = TestServer::with(Config::default());
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut socket, "}").await;
    }
}

#[tokio::test]
async fn silent_and_trickling_clients_are_disconnected() {
    let server = TestServer::with(short_timeouts());
    let (mut silent, mut trickling) = (server.connect().await, server.connect().await);
    let trickle = async {
        for byte in "GET /health HTTP/1.1\r\nX: "
            .bytes()
            .chain(std::iter::repeat(b'x'))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if trickling.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, trickle)
        .await
        .expect("the trickling client is disconnected");
    let received = tokio::time::timeout(TEST_TIMEOUT, silent.read_u8())
        .await
        .expect("the silent client is disconnected");
    assert!(received.is_err());
    eventually(|| (server.state.metrics.refusals.get("slow_head") == 2).then_some(())).await;
    eventually(|| (server.state.rules.limits.in_use() == 0).then_some(())).await;
}

#[tokio::test]
async fn idle_connection_is_closed_after_keep_alive() {
    let server = TestServer::with(Config {
        head_timeout: TEST_TIMEOUT,
        ..short_timeouts()
    });
    let mut socket = server.connect().await;
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    // Half a request head: idling and trickling are bounded together.
    socket.write_all(b"GET /hea").await.unwrap();
    let answer = TestResponse::read(&mut socket).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn connection_over_the_limit_gets_a_response_and_permits_are_released() {
    let server = TestServer::with(Config {
        max_connections: 2,
        ..Config::default()
    });
    let held = [server.connect().await, server.connect().await];
    eventually(|| (server.state.rules.limits.in_use() == 2).then_some(())).await;
    let refused = server.get("/health", &[]).await;
    assert_eq!(
        (
            refused.status,
            refused.code().as_str(),
            refused.header("retry-after")
        ),
        (503, "connection_limit", Some("5"))
    );
    assert_eq!(server.state.metrics.refusals.get("connection_limit"), 1);
    drop(held);
    eventually(|| (server.state.rules.limits.in_use() == 0).then_some(())).await;
    assert_eq!(server.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn connections_per_address_are_limited() {
    let server = TestServer::with(Config {
        max_connections_per_address: Some(1),
        ..Config::default()
    });
    let _held = server.connect().await;
    eventually(|| (server.state.rules.limits.in_use() == 1).then_some(())).await;
    assert_eq!(server.get("/health", &[]).await.code(), "address_limit");
}

#[tokio::test]
async fn oversize_request_head_is_rejected() {
    let server = TestServer::with(Config::default());
    let answer = server
        .get("/health", &[&format!("X: {}", "x".repeat(20_000))])
        .await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn garbage_is_rejected_and_closed() {
    let server = TestServer::with(Config::default());
    for garbage in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut socket = server.connect().await;
        socket.write_all(garbage.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        tokio::time::timeout(TEST_TIMEOUT, socket.read_to_end(&mut received))
            .await
            .expect("closed")
            .unwrap();
    }
    assert_eq!(server.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn drain_ends_idle_connections_event_streams_and_stuck_requests() {
    let server = TestServer::with(Config {
        keep_alive: TEST_TIMEOUT,
        head_timeout: TEST_TIMEOUT,
        ..short_timeouts()
    });
    let mut idle = server.connect().await;
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "uptime").await;
    let mut stream = server.connect().await;
    let request = format!(
        "GET /estadisticas/a/events?token={} HTTP/1.1\r\nHost: test\r\n\r\n",
        admin()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    let mut stuck = server.connect().await;
    stuck
        .write_all(b"POST /notify/cita HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n{")
        .await
        .unwrap();
    eventually(|| (server.state.rules.limits.in_use() == 3).then_some(())).await;

    assert_eq!(server.state.drain.drain(TEST_TIMEOUT).await, 0);
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(
        read_until(&mut stream, "\r\n0\r\n\r\n")
            .await
            .contains("retry:")
    );
    assert!(
        TcpStream::connect(server.address).await.is_err(),
        "the listener is closed"
    );
}
