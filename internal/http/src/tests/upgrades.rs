//! `GET /ws`: requests rejected before the upgrade, and connections that reach a shard.

use super::backend::{admin, token};
use super::*;

pub(super) const UPGRADE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

pub(super) async fn send_request(server: &TestServer, path: &str, headers: &[&str]) -> TcpStream {
    let mut head = format!("GET {path} HTTP/1.1\r\nHost: test\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    let mut socket = server.connect().await;
    socket
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    socket
}

/// Reads the response; of a rejected request also its body.
pub(super) async fn read_response(socket: &mut TcpStream) -> TestResponse {
    let mut text = read_until(socket, "\r\n\r\n").await;
    let length = TestResponse::parse(&text)
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while TestResponse::parse(&text).body.len() < length {
        let mut more = [0; 1024];
        let count = socket.read(&mut more).await.unwrap();
        text += std::str::from_utf8(&more[..count]).unwrap();
    }
    TestResponse::parse(&text)
}

/// Builds a text frame as a client sends it. The mask is zero, which changes nothing.
pub(super) fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let long = length.to_be_bytes();
    let head: &[u8] = if length < 126 {
        &[0x81, 0x80 | long[1]]
    } else {
        &[0x81, 0x80 | 126, long[0], long[1]]
    };
    [head, &[0; 4], text.as_bytes()].concat()
}

/// Reads until a frame contains `text`, and returns all bytes until then as text, frame headers
/// included.
pub(super) async fn read_until_text(socket: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    let wait = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert_ne!(
                socket.read_buf(&mut seen).await.unwrap(),
                0,
                "closed before {text:?}"
            );
        }
    };
    tokio::time::timeout(TEST_TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("{text:?} never came"));
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn upgraded_client_keeps_its_early_bytes_and_its_permit() {
    let server = TestServer::with(Config {
        max_connections_per_address: Some(1),
        ..Config::default()
    });
    let mut socket = server.connect().await;
    let head = format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n",
        admin(),
        UPGRADE.join("\r\n")
    );
    let early = frame(r#"{"type":"ping"}"#);
    socket
        .write_all(&[head.as_bytes(), &early].concat())
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(br#"{"type":"pong"}"#) {
        assert_ne!(socket.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let answer = TestResponse::parse(&String::from_utf8_lossy(&bytes));
    assert_eq!(
        (answer.status, answer.header("sec-websocket-accept")),
        (101, Some("s3pplmbitxaq9kygzzhzrbk+xoo="))
    );
    assert_eq!(
        (answer.header("upgrade"), answer.header("connection")),
        (Some("websocket"), Some("upgrade"))
    );
    assert_eq!(answer.header("sec-websocket-protocol"), None);

    assert_eq!(
        server.state.rules.limits.in_use(),
        1,
        "the permit travels with the socket"
    );
    assert_eq!(
        server.get("/health", &[]).await.code(),
        "address_limit",
        "so does the permit of its address"
    );
    drop(socket);
    eventually(|| (server.state.rules.limits.in_use() == 0).then_some(())).await;
    assert_eq!(server.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn token_in_a_subprotocol_is_accepted_and_not_echoed() {
    let server = TestServer::with(Config::default());
    let protocol = format!("Sec-WebSocket-Protocol: bearer, {}", admin());
    let headers: Vec<_> = UPGRADE.into_iter().chain([protocol.as_str()]).collect();
    let answer = read_response(&mut send_request(&server, "/ws", &headers).await).await;
    assert_eq!(
        (answer.status, answer.header("sec-websocket-protocol")),
        (101, Some("bearer"))
    );
}

#[tokio::test]
async fn grants_of_the_token_apply_to_the_websocket() {
    let server = TestServer::with(Config::default());
    let bearer = format!("Authorization: Bearer {}", token("u1", 60, Some("a")));
    let headers: Vec<_> = UPGRADE.into_iter().chain([bearer.as_str()]).collect();
    let mut socket = send_request(&server, "/ws", &headers).await;
    assert_eq!(read_response(&mut socket).await.status, 101);
    socket
        .write_all(&frame(r#"{"type":"subscribe","channel":"estadisticas:b"}"#))
        .await
        .unwrap();
    read_until_text(&mut socket, r#""code":"forbidden""#).await;
    socket
        .write_all(&frame(r#"{"type":"subscribe","channel":"estadisticas:a"}"#))
        .await
        .unwrap();
    read_until_text(&mut socket, r#""type":"stats""#).await;
}

#[tokio::test]
async fn invalid_tokens_are_rejected_before_the_upgrade() {
    let server = TestServer::with(Config::default());
    for path in ["/ws", "/ws?token=", "/ws?token=nonsense"] {
        let refused = read_response(&mut send_request(&server, path, &UPGRADE).await).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "unauthorized"),
            "{path}"
        );
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("bearer")
        );
        assert!(!refused.body.contains("nonsense"));
    }
    // A cookie is no credential.
    let cookie = format!("Cookie: token={}; access_token={}", admin(), admin());
    let headers: Vec<_> = UPGRADE.into_iter().chain([cookie.as_str()]).collect();
    assert_eq!(
        read_response(&mut send_request(&server, "/ws", &headers).await)
            .await
            .status,
        401
    );
    assert_eq!(server.state.metrics.refusals.get("missing"), 3);
}

#[tokio::test]
async fn unlisted_origins_are_rejected() {
    let origins = "https://panel.example.com".parse().unwrap();
    let server = TestServer::with(Config {
        origins,
        ..Config::default()
    });
    let path = format!("/ws?token={}", admin());
    for (origin, status) in [
        ("https://panel.example.com", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("file://", 403),
        // The server's own pages, and libraries that build an origin from its address.
        ("http://test", 101),
        ("https://test", 101),
        ("ws://test:80/", 101),
        ("http://test:8080", 403),
        ("http://test.evil.example", 403),
    ] {
        let origin = format!("Origin: {origin}");
        let headers: Vec<_> = UPGRADE.into_iter().chain([origin.as_str()]).collect();
        assert_eq!(
            read_response(&mut send_request(&server, &path, &headers).await)
                .await
                .status,
            status,
            "{origin}"
        );
    }
    assert_eq!(
        read_response(&mut send_request(&server, &path, &UPGRADE).await)
            .await
            .status,
        101,
        "programs send no origin"
    );
}

#[tokio::test]
async fn listed_origins_may_have_no_host() {
    let origins = "https://panel.example.com,null,file://".parse().unwrap();
    let server = TestServer::with(Config {
        origins,
        ..Config::default()
    });
    let path = format!("/ws?token={}", admin());
    for (origin, status) in [
        ("null", 101),
        ("file://", 101),
        ("https://evil.example", 403),
    ] {
        let origin = format!("Origin: {origin}");
        let headers: Vec<_> = UPGRADE.into_iter().chain([origin.as_str()]).collect();
        let response = read_response(&mut send_request(&server, &path, &headers).await).await;
        assert_eq!(response.status, status, "{origin}");
    }
}

#[tokio::test]
async fn invalid_handshakes_get_a_specific_error() {
    let server = TestServer::with(Config::default());
    let path = format!("/ws?token={}", admin());
    let plain = server.get(&path, &[]).await;
    assert_eq!(
        (plain.status, plain.header("upgrade"), plain.code().as_str()),
        (426, Some("websocket"), "handshake")
    );
    let old = read_response(
        &mut send_request(
            &server,
            &path,
            &[
                UPGRADE[0],
                UPGRADE[1],
                "Sec-WebSocket-Version: 8",
                UPGRADE[3],
            ],
        )
        .await,
    )
    .await;
    assert_eq!(
        (old.status, old.header("sec-websocket-version")),
        (426, Some("13"))
    );
    let keyless = read_response(
        &mut send_request(
            &server,
            &path,
            &[UPGRADE[0], UPGRADE[1], UPGRADE[2], "Sec-WebSocket-Key: x"],
        )
        .await,
    )
    .await;
    assert_eq!(keyless.status, 400);
    let twice = read_response(
        &mut send_request(
            &server,
            &path,
            &[UPGRADE[0], UPGRADE[1], UPGRADE[2], UPGRADE[3], UPGRADE[3]],
        )
        .await,
    )
    .await;
    assert_eq!(twice.status, 400);
    let post = server.request(&format!("POST {path}"), &UPGRADE, "").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("get")));
    let ten = format!("GET {path} HTTP/1.0\r\n{}\r\n\r\n", UPGRADE.join("\r\n"));
    let mut socket = server.connect().await;
    socket.write_all(ten.as_bytes()).await.unwrap();
    assert_eq!(
        TestResponse::read(&mut socket).await.status,
        426,
        "HTTP/1.0 has no upgrade"
    );
}

#[tokio::test]
async fn upgrade_without_a_database_is_a_retryable_503() {
    let server = TestServer::start(HttpBackend::without_database(Config::default()));
    let refused = read_response(
        &mut send_request(&server, &format!("/ws?token={}", admin()), &UPGRADE).await,
    )
    .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (503, "not_ready")
    );
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        read_response(&mut send_request(&server, "/ws?token=bad", &UPGRADE).await)
            .await
            .status,
        401,
        "an invalid token is rejected all the same"
    );
}
