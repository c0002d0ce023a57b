//! Clients that send frames without end, each of which says nothing.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::{next_packet, open_socketio};
use crate::harness::{ADMIN_OF_B1, TestApp, TestSocket, claims, within};

/// The fragments of a flood: far more than any limit allows at once.
const FLOOD: usize = 5_000;

fn fragment(code: Data, payload: &str, is_final: bool) -> Message {
    let payload = payload.to_owned().into_bytes();
    Message::Frame(Frame::message(payload, OpCode::Data(code), is_final))
}

/// Begins a message and sends empty fragments of it. Returns whether the server took them all.
async fn flood(socket: &mut TestSocket) -> bool {
    if !socket.try_send(fragment(Data::Text, "", false)).await {
        return false;
    }
    for _ in 0..FLOOD {
        if !socket.try_send(fragment(Data::Continue, "", false)).await {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn fragments_without_end_close_the_connection() {
    let app = TestApp::with_settings(&[("LATIDO_APPS", "messaging")], |_| {}).await;
    let mut native = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let expires_at = claims::now() + 600;
    let token = app.sign(&json!({"sub": ADMIN_OF_B1, "device_id": "d", "exp": expires_at}));
    let url = format!(
        "ws://{}/socket/websocket?vsn=2.0.0&token={token}",
        app.address()
    );
    let mut phoenix = None;
    while phoenix.is_none() {
        // The server answers 503 until the change feed knows its start position.
        phoenix = TestSocket::try_connect(&url, &[]).await.ok();
    }
    for socket in [&mut native, &mut phoenix.unwrap()] {
        flood(socket).await;
        assert_eq!(socket.wait_for_close_code().await, Some(4429));
    }
    app.assert_metric_settles(r#"latido_closes_total{reason="too_many_messages"}"#, 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_of_several_fragments_is_handled() {
    let app = TestApp::start().await;
    let mut socket = app.connect_socket(&app.token(ADMIN_OF_B1)).await;
    let text = r#"{"type":"ping"}"#;
    let (first, rest) = text.split_at(1);
    socket.send_raw(fragment(Data::Text, first, false)).await;
    for (at, byte) in rest.char_indices() {
        let is_final = at + 1 == rest.len();
        let byte = byte.to_string();
        socket
            .send_raw(fragment(Data::Continue, &byte, is_final))
            .await;
    }
    assert_eq!(socket.next().await, json!({"type": "pong"}));
}

const MODULES: [(&str, &str); 2] = [
    ("LATIDO_APPS", "modules"),
    ("MODULES_API_KEY", "a key of this test"),
];

/// A client that is identified, so that no deadline ends its connection.
async fn open_identified(app: &TestApp) -> TestSocket {
    let mut socket = open_socketio(app).await;
    let token = app.sign(&json!({"id": 7, "exp": claims::now() + 600}));
    let connect = format!("40{}", json!({"token": token}));
    socket.send_raw(connect.into()).await;
    next_packet(&mut socket, "40").await;
    socket.send_raw(r#"42["request_stats"]"#.into()).await;
    next_packet(&mut socket, "42").await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn socketio_packets_without_content_close_the_connection() {
    let app = TestApp::with_settings(&MODULES, |_| {}).await;
    let mut fragments = open_identified(&app).await;
    flood(&mut fragments).await;
    assert_ends(&mut fragments).await;
    for packet in ["2", "3", "4", "40/nowhere,"] {
        let mut socket = open_identified(&app).await;
        for _ in 0..FLOOD {
            if !socket.try_send(Message::text(packet)).await {
                break;
            }
        }
        assert_ends(&mut socket).await;
    }
}

/// Reads until the connection ends. Pings are answered, so that their absence does not end it.
async fn assert_ends(socket: &mut TestSocket) {
    let reading = async {
        loop {
            let text = socket.next_text().await;
            if text == "2" {
                socket.try_send(Message::text("3")).await;
            } else if !text.starts_with(|c: char| c.is_ascii_digit()) {
                return;
            }
        }
    };
    within(reading).await;
}
