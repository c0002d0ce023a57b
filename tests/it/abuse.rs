//! Hostile and broken clients, next to healthy clients that must not be affected.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{ADMIN_OF_B1, B1, TestApp, within};

const CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

#[tokio::test(flavor = "multi_thread")]
async fn garbage_input_is_rejected_and_other_clients_are_served() {
    let app = TestApp::start().await;
    let mut connections = Vec::new();
    for n in 0..300u32 {
        let mut stream = TcpStream::connect(app.address())
            .await
            .expect("a connection");
        let bytes: Vec<u8> = (0..200)
            .map(|i| u8::try_from((i * 31 + n * 7) % 256).expect("a byte"))
            .collect();
        stream.write_all(&bytes).await.expect("sent");
        stream.write_all(b"\r\n\r\n").await.expect("sent");
        connections.push(stream);
    }
    let db = app.connect_database().await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    assert_eq!(socket.subscribe(CHANNEL).await["data"]["negocio_id"], B1);
    app.book(&db, B1, "pendiente", 0).await;
    assert_eq!(socket.next().await["data"]["total_citas"], 1);
    for mut stream in connections {
        let mut answer = Vec::new();
        // A reset also counts as an end.
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_are_disconnected() {
    let app = TestApp::with(|config| {
        assert!(
            config.http.head_timeout <= Duration::from_secs(10),
            "the documented limit"
        );
    })
    .await;
    let mut silent = Vec::new();
    let mut trickling = Vec::new();
    for n in 0..200 {
        let stream = TcpStream::connect(app.address())
            .await
            .expect("a connection");
        if n % 2 == 0 {
            silent.push(stream);
        } else {
            trickling.push(tokio::spawn(trickle(stream)));
        }
    }
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    socket.subscribe(CHANNEL).await;
    let cut = async {
        for mut stream in silent {
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
        }
        for task in trickling {
            task.await.expect("the task ends");
        }
    };
    // A server that started to wait anew at every byte would never end.
    within(cut).await;
    socket.assert_quiet().await;
}

/// Sends a request line, one byte every 200 ms, until the server closes the connection.
async fn trickle(mut stream: TcpStream) {
    for byte in b"GET /ws HTTP/1.1\r\nHost: x\r\nX-Slow: "
        .iter()
        .chain(std::iter::repeat(&b'x'))
    {
        let mut answer = [0; 1024];
        tokio::select! {
            read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_are_disconnected_without_affecting_others() {
    let app = TestApp::with(|config| config.limits.slow_client_s = 2).await;
    let token = app.token(ADMIN_OF_B1);
    let mut unread = Vec::new();
    for _ in 0..200 {
        unread.push(connect_without_reading(&app, &token).await);
    }
    let mut socket = app.connect_socket(&token).await;
    socket.subscribe(CHANNEL).await;
    // Each client also sends requests whose responses far exceed its socket buffer.
    let asking: Vec<_> = unread
        .into_iter()
        .map(|stream| tokio::spawn(send_without_reading(stream)))
        .collect();
    let db = app.connect_database().await;
    for n in 1..=100 {
        app.book(&db, B1, "pendiente", 0).await;
        socket
            .stats_until(CHANNEL, |data| data["total_citas"] == n)
            .await;
    }
    for task in asking {
        within(task).await.expect("the server ended it");
    }
    app.assert_metric_settles("latido_connections", 1.0).await;
    app.assert_metric_settles(r#"latido_closes_total{reason="too_slow"}"#, 200.0)
        .await;
    socket.assert_quiet().await;
}

/// Connects and subscribes a client with a tiny receive buffer.
async fn connect_without_reading(app: &TestApp, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1024).expect("a small buffer");
    let mut stream = socket.connect(app.address()).await.expect("a connection");
    let request = format!(
        "GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    within(stream.read_exact(&mut head))
        .await
        .expect("a response");
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
        .write_all(&masked(
            &json!({"type": "subscribe", "channel": CHANNEL}).to_string(),
        ))
        .await
        .expect("sent");
    stream
}

/// Requests a channel with a long name, which the response repeats, until the connection is closed.
async fn send_without_reading(mut stream: TcpStream) {
    let question = masked(&json!({"type": "subscribe", "channel": "x".repeat(15_000)}).to_string());
    while stream.write_all(&question).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

/// Builds a text frame of a client. A mask of zeros is valid.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(text.len()).expect("short") {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).expect("shorter")),
        len => {
            frame.push(0x80 | 126);
            frame.extend(len.to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthorized_subscriptions_are_forbidden_and_get_no_data() {
    let app = TestApp::start().await;
    let db = app.connect_database().await;
    let mut socket = app
        .connect_socket(&app.sign(
            &json!({"id": crate::harness::OTHER_USER, "exp": crate::harness::claims::now() + 60}),
        ))
        .await;
    // One fewer than the limit of subscriptions per connection: pending requests count as well.
    for n in 0..99 {
        socket.send(&json!({"type": "subscribe", "channel": format!("estadisticas:00000000-0000-4000-8000-{n:012}")})).await;
    }
    socket
        .send(&json!({"type": "subscribe", "channel": CHANNEL}))
        .await;
    for _ in 0..100 {
        assert_eq!(socket.next().await["data"]["code"], "forbidden");
    }
    app.book(&db, B1, "pendiente", 0).await;
    let mut owner = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    owner.subscribe(CHANNEL).await;
    socket.assert_quiet().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_limit_is_enforced_and_reported() {
    // The harness keeps one of the connections, for its metrics requests.
    let app = TestApp::with(|config| config.http.max_connections = 6).await;
    let token = app.token(ADMIN_OF_B1);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        // A connection that the harness used to wait for readiness may still be open.
        let there_is_room = async {
            loop {
                if let Ok(socket) = crate::harness::TestSocket::try_connect(
                    &format!("{}?token={token}", app.ws_url()),
                    &[],
                )
                .await
                {
                    break socket;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        sockets.push(within(there_is_room).await);
    }
    let refused =
        crate::harness::TestSocket::try_connect(&format!("{}?token={token}", app.ws_url()), &[])
            .await;
    assert_eq!(refused.err(), Some(503));
    for socket in &mut sockets {
        socket.assert_quiet().await;
    }
    sockets.pop().expect("one").close().await;
    crate::harness::wait_until("a permit is free", async || {
        crate::harness::TestSocket::try_connect(&format!("{}?token={token}", app.ws_url()), &[])
            .await
            .is_ok()
    })
    .await;
}
