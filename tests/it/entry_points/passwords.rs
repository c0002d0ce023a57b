//! Floods of wrong passwords and of wrong claim codes, against the devices and the users that know
//! the right ones.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use super::{next_packet, open_socketio};
use crate::harness::{TestApp, TestSocket, claims};

/// The wrong passwords that are sent at once.
const FLOOD: usize = 200;
/// The checks that a device may wait for, with its own. The limits of the queue allow no more than
/// one check of each other address, on every second core.
const MOST_CHECKS: u32 = 6;
/// A bcrypt hash of `s3cret`, of the usual cost.
const PASSWORD_HASH: &str = "$2b$10$abcdefghijklmnopqrstuu3KWNuWLhBnmgYfnzONPueahDuedC/lu";

async fn start() -> TestApp {
    let variables = [
        ("LATIDO_APPS", "modules"),
        ("MODULES_API_KEY", "the long key of this test"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let app = TestApp::with_settings(&variables, |_| {}).await;
    let rows: Vec<_> = (1..=9)
        .map(|n| format!("('M{n}', 'c{n}', '{PASSWORD_HASH}', 7, {})", n != 9))
        .collect();
    let users: Vec<_> = (7..=20).map(|id| format!("({id}, 'user')")).collect();
    let sql = format!(
        "INSERT INTO users (id, name) VALUES {};
         INSERT INTO modules (module_id, module_code, module_password_hash, user_id, claimed) VALUES {};
         UPDATE modules SET user_id = NULL WHERE module_id = 'M9'",
        users.join(","),
        rows.join(",")
    );
    app.connect_database()
        .await
        .batch_execute(&sql)
        .await
        .unwrap();
    app
}

/// Sends the first frame of a device from an address, as a proxy names it.
async fn send_password(app: &TestApp, address: &str, module: &str, password: &str) -> TestSocket {
    let url = format!("ws://{}/esp32", app.address());
    let headers = [("x-forwarded-for", address)];
    let mut device = TestSocket::try_connect(&url, &headers).await.unwrap();
    let frame = json!({"type": "module_identify", "moduleId": module, "password": password});
    device.send(&frame).await;
    device
}

/// Connects a device until it is authenticated, and returns the time that it took. A device that is
/// refused for want of room tries again.
async fn time_login(app: &TestApp, address: &str, module: &str) -> Duration {
    let started = Instant::now();
    loop {
        let mut device = send_password(app, address, module, "s3cret").await;
        let answer = device.next_text().await;
        if answer.contains("connected") {
            return started.elapsed();
        }
        assert!(answer.contains("Server error"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn device_logs_in_during_a_flood_of_wrong_passwords() {
    let app = start().await;
    let attacker = "198.51.100.1";
    let one_check = time_login(&app, "192.0.2.1", "M1").await;
    for (address, module) in [("192.0.2.2", "M2"), (attacker, "M3"), ("192.0.2.2", "M8")] {
        let flood = (0..FLOOD).map(|_| send_password(&app, attacker, "M8", "wrong"));
        let _wrong = join_all(flood).await;
        let time = time_login(&app, address, module).await;
        let limit = one_check * MOST_CHECKS + Duration::from_millis(500);
        assert!(
            time < limit,
            "{module} at {address}: {time:?}, and a single check takes {one_check:?}"
        );
    }
}

/// The attacker has many addresses, so that the queue is full whenever a device comes.
#[tokio::test(flavor = "multi_thread")]
async fn device_logs_in_while_many_addresses_send_wrong_passwords() {
    let app = start().await;
    let one_check = time_login(&app, "192.0.2.1", "M1").await;
    let flood = (0..FLOOD).map(|n| {
        let address = format!("198.51.100.{}", n % 10);
        let module = format!("M{}", 3 + n % 6);
        let app = &app;
        async move { send_password(app, &address, &module, "wrong").await }
    });
    let _wrong = join_all(flood).await;
    let time = time_login(&app, "192.0.2.2", "M2").await;
    // A check of each address may come first.
    let limit = one_check * (10 + MOST_CHECKS) + Duration::from_millis(500);
    assert!(
        time < limit,
        "{time:?}, and a single check takes {one_check:?}"
    );
}

/// Opens the page of a user.
async fn open_page(app: &TestApp, user: i64) -> TestSocket {
    let mut page = open_socketio(app).await;
    let token = app.sign(&json!({"id": user, "exp": claims::now() + 600}));
    page.send_raw(format!("40{}", json!({"token": token})).into())
        .await;
    next_packet(&mut page, "40").await;
    page
}

/// Reads until an event of this name, or an error, and requires that it is not the error.
async fn next_event(page: &mut TestSocket, name: &str) -> String {
    let (event, error) = (format!("42[\"{name}\""), "42[\"error\"");
    loop {
        let packet = next_packet(page, "42").await;
        if packet.starts_with(&event) {
            return packet;
        }
        assert!(!packet.starts_with(error), "{packet}");
    }
}

async fn send_code(page: &mut TestSocket, code: &str) {
    let event = json!(["module_claim", {"moduleId": "M9", "code": code}]);
    page.send_raw(format!("42{event}").into()).await;
}

/// Sends ten wrong codes on each page at once. Returns how many of them were checked.
async fn send_wrong_codes(pages: &mut [TestSocket]) -> usize {
    let answers = pages.iter_mut().map(|page| async move {
        for n in 0..10 {
            send_code(page, &format!("wrong {n}")).await;
        }
        let mut checked = 0;
        for _ in 0..10 {
            let answer = next_event(page, "error").await;
            let is_checked = answer.contains("No unclaimed module with that code");
            assert!(
                is_checked || answer.contains("Too many wrong codes"),
                "{answer}"
            );
            checked += usize::from(is_checked);
        }
        checked
    });
    join_all(answers).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_at_once_are_not_checked_beyond_the_limit_and_lock_nobody_out() {
    let app = start().await;
    let mut pages = Vec::new();
    for _ in 0..12 {
        pages.push(open_page(&app, 8).await);
    }
    assert_eq!(send_wrong_codes(&mut pages).await, 10);
    // A module for which many users sent wrong codes.
    let mut pages = Vec::new();
    for user in 9..=20 {
        pages.push(open_page(&app, user).await);
    }
    send_wrong_codes(&mut pages).await;
    let mut owner = open_page(&app, 7).await;
    send_code(&mut owner, "c9").await;
    next_event(&mut owner, "claim_ack").await;
}
