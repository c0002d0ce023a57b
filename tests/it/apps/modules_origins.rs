//! The origins that libraries and pages send to the modules app, with a list of allowed origins.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{TestApp, within};

const PANEL: &str = "https://panel.example.com";
const OTHER: &str = "https://other.example";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling&t=n5u2y3ds";

async fn start_app(settings: &[(&str, &str)]) -> TestApp {
    let mut variables = super::modules::VARIABLES.to_vec();
    variables.extend(settings);
    TestApp::with_settings(&variables, |_| {}).await
}

/// Sends a request as it is, except for `HOST`, and returns the head of the response.
async fn exchange(app: &TestApp, request: &str) -> String {
    let host = app.address().to_string();
    let request = request.replace("HOST", &host).replace('\n', "\r\n");
    let mut socket = TcpStream::connect(&host).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    within(async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            assert_ne!(socket.read_buf(&mut head).await.unwrap(), 0);
        }
    })
    .await;
    String::from_utf8_lossy(&head).to_lowercase()
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Returns a request as `arduinoWebSockets` sends it.
fn arduino(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\nHost: HOST\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: arduino\nOrigin: file://\n\
         User-Agent: arduino-WebSocket-Client\n\n"
    )
}

/// Returns a request as Python's `websocket-client` sends it, below `python-socketio` too.
fn websocket_client(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\nUpgrade: websocket\nHost: HOST\nOrigin: http://HOST\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\nConnection: Upgrade\n\n"
    )
}

/// Returns a request as a browser sends it for a page of another host.
fn browser(method: &str, path: &str, origin: &str, more: &[&str]) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\nHost: HOST\nOrigin: {origin}\n");
    for line in more {
        writeln!(request, "{line}").unwrap();
    }
    request + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_devices_pass_the_list_of_origins() {
    let app = start_app(&[("ALLOWED_ORIGINS", PANEL)]).await;
    let socketio = "/socket.io/?EIO=4&transport=websocket";
    for (request, expected) in [
        (arduino("/esp32"), "101"),
        // `ArduinoWebsockets` of Gil Maimon.
        (
            arduino("/esp32").replace("file://", "https://github.com/gilmaimon/TinyWebsockets"),
            "101",
        ),
        (websocket_client("/esp32"), "101"),
        (websocket_client(socketio), "101"),
        (arduino(socketio), "403"),
        (browser("GET", POLLING, PANEL, &[]), "200"),
        (browser("GET", POLLING, "http://HOST", &[]), "200"),
        (browser("GET", POLLING, OTHER, &[]), "403"),
    ] {
        let head = exchange(&app, &request).await;
        assert_eq!(status(&head), expected, "{request}{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_without_a_password_needs_a_listed_origin() {
    let settings = [
        ("ALLOWED_ORIGINS", PANEL),
        ("MODULES_TRUST_CLIENTS", "true"),
    ];
    let app = start_app(&settings).await;
    assert_eq!(status(&exchange(&app, &arduino("/esp32")).await), "403");
    let listed = format!("{PANEL},file://");
    let app = start_app(&[("ALLOWED_ORIGINS", &listed), settings[1]]).await;
    assert_eq!(status(&exchange(&app, &arduino("/esp32")).await), "101");
    let socketio = arduino("/socket.io/?EIO=4&transport=websocket");
    assert_eq!(status(&exchange(&app, &socketio).await), "101");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_modules_origins_may_poll_with_the_cookie() {
    for origins in ["*", OTHER] {
        let app = start_app(&[("MODULES_ORIGINS", PANEL), ("ALLOWED_ORIGINS", origins)]).await;
        let cookie = ["Cookie: connect.sid=s%3Aabc.def"];
        let head = exchange(&app, &browser("GET", POLLING, PANEL, &cookie)).await;
        assert_eq!(status(&head), "200", "{origins}: {head}");
        for line in [
            "access-control-allow-origin: https://panel.example.com",
            "access-control-allow-credentials: true",
            "vary: origin",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{origins}: {line}: {head}");
        }
        let ask = [
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: content-type,x-page",
        ];
        let head = exchange(&app, &browser("OPTIONS", POLLING, PANEL, &ask)).await;
        assert_eq!(status(&head), "204", "{origins}: {head}");
        assert!(head.contains("access-control-allow-headers: content-type,x-page"));
        assert!(head.contains("access-control-allow-credentials: true"));
        let head = exchange(
            &app,
            &browser("GET", POLLING, "https://evil.example", &cookie),
        )
        .await;
        assert!(!head.contains("credentials"), "{origins}: {head}");
    }
}
