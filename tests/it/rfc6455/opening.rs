//! Section 4.2: the opening handshake. `contract.rs` tests the product's own handshake with tokens
//! and origins.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::server;
use crate::harness::within;

const LINES: [&str; 5] = [
    "Host: x",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

async fn status(request_line: &str, lines: &[&str]) -> String {
    let mut socket = TcpStream::connect(server().await).await.unwrap();
    socket
        .write_all(format!("{request_line}\r\n{}\r\n\r\n", lines.join("\r\n")).as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    within(socket.read_exact(&mut answer)).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn section_4_2_1_each_requirement_is_enforced() {
    assert_eq!(status("GET / HTTP/1.1", &LINES).await, "HTTP/1.1 101");
    for line in ["POST / HTTP/1.1", "GET / HTTP/1.0"] {
        assert_eq!(status(line, &LINES).await, "HTTP/1.1 400", "{line}");
    }
    // All headers but the first, which HTTP requires and not the RFC.
    for missing in &LINES[1..] {
        let lines: Vec<_> = LINES.into_iter().filter(|line| line != missing).collect();
        assert_eq!(
            status("GET / HTTP/1.1", &lines).await,
            "HTTP/1.1 400",
            "without {missing}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn section_9_1_offered_extensions_are_declined() {
    let offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"];
    let lines: Vec<_> = LINES.into_iter().chain(offer).collect();
    let mut socket = TcpStream::connect(server().await).await.unwrap();
    socket
        .write_all(format!("GET / HTTP/1.1\r\n{}\r\n\r\n", lines.join("\r\n")).as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(within(socket.read_u8()).await.unwrap());
    }
    assert!(
        !String::from_utf8(answer)
            .unwrap()
            .to_lowercase()
            .contains("extensions")
    );
}
