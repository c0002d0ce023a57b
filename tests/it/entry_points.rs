//! The entry points of a complete server: who may come in, how much they may send, and when they
//! must leave.

mod claims;
mod costly_tokens;
mod floods;
mod passwords;
mod revocation;
mod rights;
pub(crate) mod table;
mod unidentified;

use crate::harness::{TestApp, TestSocket, within};

pub(crate) const CHANNEL: &str = "estadisticas:6f1c9c1e-50a5-4b1f-9d53-0c9d6f0a7a11";

/// Opens a Socket.IO session as a WebSocket. Returns it after the open packet.
pub(crate) async fn open_socketio(app: &TestApp) -> TestSocket {
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        app.address()
    );
    let mut socket = TestSocket::try_connect(&url, &[]).await.unwrap();
    let opened = socket.next_text().await;
    assert!(opened.starts_with("0{"), "{opened}");
    socket
}

/// Reads until a text starts with `start`, and returns it. Pings of the transport are answered.
pub(crate) async fn next_packet(socket: &mut TestSocket, start: &str) -> String {
    let reading = async {
        loop {
            let text = socket.next_text().await;
            if text == "2" {
                socket.send_raw("3".into()).await;
            } else if text.starts_with(start) {
                return text;
            } else {
                assert!(text.starts_with(|c: char| c.is_ascii_digit()), "{text}");
            }
        }
    };
    within(reading).await
}
