//! Pings: the server closes a connection that never answers them and keeps one that does, for any
//! duration and protocol, also through TLS.
//!
//! `rfc6455` tests the frames. These tests run complete servers, and their clients send nothing
//! else.

use std::sync::Arc;

use latido::app::{App, Config};
use latido::config::{ConfigSources, Purpose, Settings};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::access_control::create_certificate;
use crate::harness::cluster::TestDatabase;
use crate::harness::{
    ADMIN_OF_B1, B1, TempFolder, TestApp, TestSocket, claims, wait_until, within,
};

/// The interval of the pings in seconds. A client has a little longer than that to answer a ping,
/// which must suffice on a busy machine.
const HEARTBEAT: &str = "3";
/// The number of pings to answer. Seven seconds of silence are too long, so a client that received
/// this many has lived longer.
const PINGS: usize = 3;
const PING_SETTINGS: [(&str, &str); 3] = [
    ("HEARTBEAT_SECONDS", HEARTBEAT),
    ("LATIDO_APPS", "workspace"),
    ("WORKSPACE_API_KEY", "a publisher's key for tests"),
];
const CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

/// Builds a text frame of a client, with a mask of zeros.
fn masked(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    let head = match length {
        0..126 => vec![0x81, 0x80 | u8::try_from(length).unwrap()],
        _ => [&[0x81, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head, &[0; 4][..], text.as_bytes()].concat()
}

/// Upgrades, sends these messages, and then stays silent. Returns every frame received until the
/// end, as opcode and payload.
async fn upgrade_and_stay_silent(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    words: &[String],
) -> Vec<(u8, Vec<u8>)> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    for word in words {
        socket.write_all(&masked(word)).await.unwrap();
    }
    let mut bytes = Vec::new();
    // An end without a close frame also counts.
    let _ = within(socket.read_to_end(&mut bytes)).await;
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a response")
        + 4;
    assert!(
        bytes.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&bytes)
    );
    frames(&bytes[end..])
}

fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, short, rest @ ..] = bytes {
        let (length, rest) = match short {
            126 => (
                usize::from(u16::from_be_bytes([rest[0], rest[1]])),
                &rest[2..],
            ),
            short => (usize::from(*short), rest),
        };
        frames.push((first & 0x0f, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// Asserts that the client was pinged once and then closed with 4408.
fn assert_pinged_and_closed(frames: &[(u8, Vec<u8>)], client: &str) {
    assert_eq!(
        frames.iter().filter(|(opcode, _)| *opcode == 0x9).count(),
        1,
        "{client}: {frames:?}"
    );
    let (opcode, payload) = frames.last().unwrap();
    assert_eq!(
        (*opcode, &payload[..2]),
        (0x8, &4408_u16.to_be_bytes()[..]),
        "{client}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_native_and_app_clients_are_closed_and_responsive_ones_stay() {
    let app = TestApp::with_settings(&PING_SETTINGS, |_| {}).await;
    let (native, member) = (
        app.token(ADMIN_OF_B1),
        app.sign(&json!({"userId": "7", "workspaces": [{"workspaceId": "1", "role": "admin"}], "exp": claims::now() + 600})),
    );
    let subscribe = json!({"type": "subscribe", "data": {"channel": CHANNEL}}).to_string();
    let enter =
        json!({"type": "auth", "workspace_id": "1", "user_id": "7", "token": member}).to_string();

    let open = async || within(TcpStream::connect(app.address())).await.unwrap();
    let silent_native = async {
        let frames = upgrade_and_stay_silent(
            open().await,
            &format!("/ws?token={native}"),
            std::slice::from_ref(&subscribe),
        )
        .await;
        assert!(
            frames
                .iter()
                .any(|(_, payload)| payload.windows(5).any(|five| five == b"stats")),
            "the client is served"
        );
        assert_pinged_and_closed(&frames, "a client of the native dialect");
    };
    let silent_app_client = async {
        let frames =
            upgrade_and_stay_silent(open().await, "/ws", std::slice::from_ref(&enter)).await;
        assert!(
            frames
                .iter()
                .any(|(_, payload)| payload.windows(12).any(|some| some == b"auth_success")),
            "the client is admitted"
        );
        assert_pinged_and_closed(&frames, "an app client");
    };
    let answering_client = async {
        let mut socket = app.connect_socket(&native).await;
        socket.subscribe(CHANNEL).await;
        socket.answer_pings(PINGS).await;
        socket
    };
    let answering_app_client = async {
        let mut socket = TestSocket::try_connect(&app.ws_url(), &[]).await.unwrap();
        socket.send_raw(Message::text(enter.clone())).await;
        socket.answer_pings(PINGS).await;
        socket
    };
    let ((), (), mut native_stays, guest_stays) = tokio::join!(
        silent_native,
        silent_app_client,
        answering_client,
        answering_app_client
    );
    app.book(&app.connect_database().await, B1, "pendiente", 0)
        .await;
    native_stays
        .stats_until(CHANNEL, |data| data["total_citas"] == 1)
        .await;
    app.assert_metric_settles(r#"latido_closes_total{reason="silent"}"#, 2.0)
        .await;
    drop((native_stays, guest_stays));
}

/// A shard sees the server's end of the tunnel. Closing that end must also close the client's.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_works_through_tls() {
    let (folder, database) = (
        TempFolder::new(),
        TestDatabase::create(&["sql/schema.sql", "tests/it/sql/people.sql"]).await,
    );
    let (authority, cert, key) = create_certificate(&folder);
    let variables = [
        ("DATABASE_URL", database.url()),
        ("JWT_SECRET", claims::SECRET),
        ("HOST", "127.0.0.1"),
        ("PORT", "0"),
        ("HEARTBEAT_SECONDS", HEARTBEAT),
        ("TLS_CERT", cert.to_str().unwrap()),
        ("TLS_KEY", key.to_str().unwrap()),
    ];
    TestApp::install_on(database.url()).await;
    let settings =
        Settings::read(&ConfigSources::from_variables(&variables), Purpose::Serve).unwrap();
    let app = App::start(Config::new(settings)).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(rustls::pki_types::CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let config = Arc::new(
        rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    let open = async || {
        let tunnel = tokio_rustls::TlsConnector::from(Arc::clone(&config));
        let socket = within(TcpStream::connect(app.address())).await.unwrap();
        within(tunnel.connect(ServerName::try_from("localhost").unwrap(), socket))
            .await
            .unwrap()
    };
    let token = claims::sign_with(
        claims::SECRET,
        &json!({"id": ADMIN_OF_B1, "negocio_id": B1, "exp": claims::now() + 600}),
    );
    let path = format!("/ws?token={token}");
    wait_until("the server serves", async || {
        let mut socket = open().await;
        socket
            .write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        let _ = within(socket.read_to_end(&mut answer)).await;
        answer.starts_with(b"HTTP/1.1 200")
    })
    .await;
    let silent = async {
        assert_pinged_and_closed(
            &upgrade_and_stay_silent(open().await, &path, &[]).await,
            "through TLS",
        )
    };
    let answering = async {
        let request = format!("wss://localhost{path}");
        let tunnel = tokio_tungstenite::MaybeTlsStream::Rustls(open().await);
        let upgrade = Box::pin(tokio_tungstenite::client_async(request, tunnel));
        TestSocket::from_stream(within(upgrade).await.unwrap().0)
            .answer_pings(PINGS)
            .await;
    };
    tokio::join!(silent, answering);
    assert!(app.stop().await);
}
