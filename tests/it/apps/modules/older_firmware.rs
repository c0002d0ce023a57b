//! Modules with older firmware, which speak Socket.IO.

use serde_json::json;

use super::{get_summary, start_app};
use crate::entry_points::{next_packet, open_socketio};
use crate::harness::wait_until;

const IDENTIFY: &str =
    r#"421["module_identify",{"moduleId":"M1","type":"Tower","password":"s3cret"}]"#;

#[tokio::test(flavor = "multi_thread")]
async fn second_socket_of_a_module_takes_the_place_of_the_first() {
    let (app, _client) = start_app().await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = open_socketio(&app).await;
        socket.send_raw("40".into()).await;
        next_packet(&mut socket, "40").await;
        socket.send_raw(IDENTIFY.into()).await;
        // The events after it wait until the password is checked.
        socket
            .send_raw(r#"422["telemetry",{"uptime":3,"password":"s3cret"}]"#.into())
            .await;
        next_packet(&mut socket, r#"42["connected""#).await;
        next_packet(&mut socket, r#"431[{"success":true}]"#).await;
        next_packet(&mut socket, r#"432[{"success":true}]"#).await;
        sockets.push(socket);
    }
    let [first, second] = &mut *sockets else {
        unreachable!("two were opened")
    };
    next_packet(first, "41").await;
    second
        .send_raw(r#"423["telemetry",{"uptime":4,"password":"s3cret"}]"#.into())
        .await;
    next_packet(second, r#"433[{"success":true}]"#).await;
    assert_eq!(
        get_summary(&app, 1, "admin").await["onlineModules"],
        json!(1)
    );
    drop(sockets);
    wait_until("the module is offline", async || {
        get_summary(&app, 1, "admin").await["onlineModules"] == 0
    })
    .await;
}
