//! Commands to a device that is connected: its owner's reach it, and nobody else's.

use super::*;
use crate::entry_points::{next_packet, open_socketio};

/// Opens the page of a user.
async fn open_page(app: &TestApp, user: i64) -> TestSocket {
    let mut page = open_socketio(app).await;
    let auth = json!({"token": token(app, user, "user")});
    page.send_raw(format!("40{auth}").into()).await;
    next_packet(&mut page, "40").await;
    page
}

async fn send_command(page: &mut TestSocket, event: &str, command: &str) {
    let event = json!([event, {"moduleId": "M1", "command": command}]);
    page.send_raw(format!("42{event}").into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn command_of_a_stranger_reaches_no_device() {
    let (app, _client) = start_app().await;
    let mut device = connect_module(&app, "M1").await;
    let (mut owner, mut stranger) = (open_page(&app, 7).await, open_page(&app, 8).await);
    for event in ["send_module_command", "module_command"] {
        send_command(&mut stranger, event, "left").await;
        let refusal = loop {
            let packet = next_packet(&mut stranger, "42").await;
            if packet.contains("M1") || packet.contains("rror") {
                break packet;
            }
        };
        assert!(refusal.contains("access denied"), "{event}: {refusal}");
        send_command(&mut owner, event, "right").await;
        let received = device.next().await;
        assert!(received.to_string().contains("right"), "{received}");
    }
}
