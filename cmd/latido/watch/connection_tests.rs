use std::sync::Mutex;

use jiff::tz::TimeZone;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request as UpgradeRequest, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::*;

fn client(url: &str) -> WatchClient {
    WatchClient {
        url: Url::parse(url).unwrap(),
        token: "a.b.c".into(),
        channel: "estadisticas:n1".into(),
        as_json: false,
        renderer: RowRenderer::new("estadisticas:n1", TimeZone::UTC, false),
        is_subscribed: false,
    }
}

/// Starts a server that accepts one client, records its request, sends `frames` and closes with
/// `code`.
async fn server(
    frames: &'static [&'static str],
    code: u16,
) -> (String, tokio::task::JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/ws", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let protocols = Mutex::new(String::new());
        #[expect(clippy::result_large_err, reason = "the library's own signature")]
        let callback = |request: &UpgradeRequest, mut response: Response| {
            *protocols.lock().unwrap() = request.headers()[SEC_WEBSOCKET_PROTOCOL]
                .to_str()
                .unwrap()
                .to_owned();
            response
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, "bearer".parse().unwrap());
            Ok(response)
        };
        let mut socket = accept_hdr_async(stream, callback).await.unwrap();
        let subscribe = socket
            .next()
            .await
            .unwrap()
            .unwrap()
            .into_text()
            .unwrap()
            .to_string();
        for frame in frames {
            socket.send(Message::text(*frame)).await.unwrap();
        }
        let _ = socket
            .close(Some(CloseFrame {
                code: code.into(),
                reason: "because".into(),
            }))
            .await;
        while let Some(Ok(_)) = socket.next().await {}
        (protocols.into_inner().unwrap(), subscribe)
    });
    (url, server)
}

async fn run_once(url: &str) -> (WatchDisconnect, u32) {
    let mut attempt = 5;
    let disconnect = client(url).connect_and_follow(&mut attempt).await.unwrap();
    (disconnect, attempt)
}

#[tokio::test]
async fn client_subscribes_and_follows_the_close_code() {
    let (url, server) = server(
        &[r#"{"type":"subscribed","data":{"channel":"estadisticas:n1"}}"#],
        4401,
    )
    .await;
    let (disconnect, attempt) = run_once(&url).await;
    assert!(
        matches!(disconnect, WatchDisconnect::Permanent(reason) if reason.contains("token") && reason.ends_with(": because"))
    );
    assert_eq!(
        attempt, 0,
        "the subscription was confirmed, so the next delay is short again"
    );
    let (protocols, subscribe) = server.await.unwrap();
    assert_eq!(protocols, "bearer, a.b.c");
    assert_eq!(
        subscribe,
        r#"{"type":"subscribe","data":{"channel":"estadisticas:n1"}}"#
    );
}

#[tokio::test]
async fn restart_of_the_server_is_retried() {
    let (url, _server) = server(&[], 1012).await;
    assert_eq!(
        run_once(&url).await,
        (
            WatchDisconnect::retry("the server restarts (1012): because"),
            5
        )
    );
}

#[tokio::test]
async fn refused_subscription_is_permanent() {
    let (url, _server) = server(
        &[r#"{"type":"error","data":{"code":"forbidden","message":"no"}}"#],
        1000,
    )
    .await;
    assert_eq!(
        run_once(&url).await.0,
        WatchDisconnect::Permanent("estadisticas:n1: forbidden: no".into())
    );
}

const UNAVAILABLE: &str = r#"{"type":"error","data":{"code":"unavailable","message":"later"}}"#;

#[tokio::test]
async fn channel_that_cannot_be_read_keeps_its_subscription() {
    let subscribed = r#"{"type":"subscribed","data":{"channel":"estadisticas:n1"}}"#;
    let (url, _server) = server(vec![subscribed, UNAVAILABLE].leak(), 1012).await;
    let reason = "the server restarts (1012): because";
    assert_eq!(run_once(&url).await, (WatchDisconnect::retry(reason), 0));
}

#[tokio::test]
async fn subscription_that_cannot_be_made_now_is_retried_ever_more_slowly() {
    let (url, _server) = server(&[UNAVAILABLE], 1012).await;
    let reason = "estadisticas:n1: unavailable: later";
    assert_eq!(run_once(&url).await, (WatchDisconnect::retry(reason), 5));
}

#[tokio::test]
async fn http_status_is_interpreted() {
    for (response, is_for_good) in [
        (
            "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
            true,
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nretry-after: 9\r\ncontent-length: 0\r\n\r\n",
            false,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.readable().await;
            stream.write_all(response.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let (disconnect, attempt) = run_once(&url).await;
        assert_eq!(
            (matches!(disconnect, WatchDisconnect::Permanent(_)), attempt),
            (is_for_good, 5),
            "{disconnect:?}"
        );
    }
}

#[tokio::test]
async fn unreachable_server_is_retried() {
    let url = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("ws://{}/ws", listener.local_addr().unwrap())
    };
    assert!(matches!(
        run_once(&url).await.0,
        WatchDisconnect::Retry { .. }
    ));
}
