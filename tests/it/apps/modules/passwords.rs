//! Wrong passwords of devices: they take the time of those who send them, and of nobody else.

use tokio::task::JoinSet;

use super::*;
use crate::entry_points::next_packet;

/// The address from which wrong passwords come. A proxy names it.
const ATTACKER: &str = "192.0.2.7";
/// The connections that send wrong passwords: twice as many as may wait for a check.
const ATTACKERS: usize = 16;

async fn connect_from(app: &TestApp, address: &str) -> TestSocket {
    let url = format!("ws://{}/esp32", app.address());
    TestSocket::try_connect(&url, &[("x-forwarded-for", address)])
        .await
        .unwrap()
}

async fn identify(socket: &mut TestSocket, module: &str, password: &str) {
    let frame = json!({"type": "module_identify", "moduleId": module, "password": password});
    socket.send(&frame).await;
}

/// Sends wrong passwords for modules that do not exist, which take the time of real ones. Each
/// answer is followed by the next attempt.
async fn guess(address: std::net::SocketAddr, number: usize) {
    let url = format!("ws://{address}/esp32");
    loop {
        let Ok(mut socket) = TestSocket::try_connect(&url, &[("x-forwarded-for", ATTACKER)]).await
        else {
            return;
        };
        identify(&mut socket, &format!("X{number}"), "wrong").await;
        socket.wait_for_close_code().await;
    }
}

/// Starts a server behind a proxy, and has wrong passwords of one address wait for all checks that
/// this address may have. Returns the tasks that send them.
async fn start_under_attack() -> (TestApp, JoinSet<()>) {
    let variables = [&VARIABLES[..], &[("TRUSTED_PROXIES", "127.0.0.1")]].concat();
    let (app, _client) = start_app_with(&variables).await;
    let mut known = connect_from(&app, ATTACKER).await;
    identify(&mut known, "M1", "s3cret").await;
    known.next_of_type("auth_success").await;
    drop(known);
    let mut attackers = JoinSet::new();
    for number in 0..ATTACKERS {
        attackers.spawn(guess(app.address(), number));
    }
    // A check that finds no room is refused at once, as one that the server could not make.
    wait_until("a check finds no room", async || {
        let mut refused = connect_from(&app, ATTACKER).await;
        identify(&mut refused, "X", "wrong").await;
        refused.wait_for_close_code().await == Some(1011)
    })
    .await;
    (app, attackers)
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_keep_no_other_address_out() {
    let (app, mut attackers) = start_under_attack().await;
    for _ in 0..5 {
        let mut device = connect_from(&app, "198.51.100.1").await;
        identify(&mut device, "M4", "wrong").await;
        let (code, reason) = device.wait_for_close().await;
        assert_eq!((code, &*reason), (1008, "Authentication failed"));
    }
    let mut device = connect_from(&app, "198.51.100.1").await;
    identify(&mut device, "M2", "s3cret").await;
    device.next_of_type("auth_success").await;
    attackers.shutdown().await;
}

/// A password that was verified before takes no time, so it needs no room.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_keep_no_known_device_out() {
    let (app, mut attackers) = start_under_attack().await;
    for _ in 0..5 {
        let mut known = connect_from(&app, ATTACKER).await;
        identify(&mut known, "M1", "s3cret").await;
        known.next_of_type("auth_success").await;
    }
    attackers.shutdown().await;
}

/// The devices of the older kind.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_keep_no_device_of_socketio_out() {
    let (app, mut attackers) = start_under_attack().await;
    let url = format!(
        "ws://{}/socket.io/?EIO=4&transport=websocket",
        app.address()
    );
    let proxied = [("x-forwarded-for", "198.51.100.2")];
    for module in ["M2", "M1"] {
        let mut device = TestSocket::try_connect(&url, &proxied).await.unwrap();
        device.send_raw("40".into()).await;
        next_packet(&mut device, "40").await;
        let password = if module == "M1" { "wrong" } else { "s3cret" };
        let frame = json!(["module_identify", {"moduleId": module, "password": password}]);
        device.send_raw(format!("42{frame}").into()).await;
        let answer = next_packet(&mut device, "42").await;
        let expected = if module == "M1" {
            "Authentication failed"
        } else {
            r#""status":"authenticated""#
        };
        assert!(answer.contains(expected), "{answer}");
    }
    attackers.shutdown().await;
}
