//! The `serve` command and its outside view: `token`, `healthcheck`, signals and logs.

use std::net::{SocketAddr, TcpListener};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{CommandSetup, SECRET};
use crate::harness::{B1, ReservedPort, TestSocket, http_client, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn token_grants_access_and_signal_stops_the_server_in_order() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let token = place.token(B1).await;
    let channel = format!("estadisticas:{B1}");
    for signal in [Signal::TERM, Signal::INT] {
        let server = place.start(&["serve"], &[]);
        let address = server.ready_address().await;
        let mut socket = TestSocket::connect(&format!("ws://{address}/ws"), &token).await;
        assert_eq!(socket.subscribe(&channel).await["data"]["negocio_id"], B1);
        server.signal(signal);
        assert_eq!(socket.wait_for_close_code().await, Some(1012), "{signal:?}");
        let finished = server.wait_for_exit().await;
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(0), ""),
            "{signal:?}: {finished:?}"
        );
        assert!(
            finished.stderr.contains(r#""message":"stopped""#),
            "{}",
            finished.stderr
        );
    }
}

/// A key that the hook does not accept.
const WRONG_KEY: &str = "another key, wrong";

/// Presents a token in every accepted place, an invalid one, and keys to the hook.
async fn present_secrets(address: SocketAddr, token: &str, key: &str) {
    let url = format!("ws://{address}/ws");
    let channel = format!("estadisticas:{B1}");
    TestSocket::connect(&url, token)
        .await
        .subscribe(&channel)
        .await;
    let protocols = format!("bearer, {token}");
    let mut socket = TestSocket::try_connect(&url, &[("sec-websocket-protocol", &protocols)])
        .await
        .expect("admitted");
    socket
        .send(&json!({"type": "auth", "data": {"token": token}}))
        .await;
    socket.subscribe(&channel).await;
    let forged = format!("{token}forged");
    assert_eq!(
        TestSocket::try_connect(&format!("{url}?token={forged}"), &[])
            .await
            .err(),
        Some(401)
    );
    let http = http_client();
    let snapshot = http
        .get(format!("http://{address}/estadisticas/{B1}"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(snapshot.status(), 200);
    let hook = |key: &str| {
        let request = http
            .post(format!("http://{address}/notify/cita"))
            .header("x-api-key", key);
        request
            .json(&json!({"negocio_id": B1, "action": "created"}))
            .send()
    };
    assert_eq!(hook(key).await.unwrap().status(), 200);
    assert_eq!(hook(WRONG_KEY).await.unwrap().status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_structured_and_contain_no_secret() {
    let place = CommandSetup::new().await;
    place.print(&["install"]).await;
    let token = place.token(B1).await;
    let key = "a key that clients of the hook must present";
    let server = place.start(
        &["serve"],
        &[("RUST_LOG", "trace"), ("NOTIFY_API_KEY", key)],
    );
    let address = server.ready_address().await;
    present_secrets(address, &token, key).await;
    server.signal(Signal::TERM);
    let finished = server.wait_for_exit().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    for line in finished.stderr.lines() {
        let log: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            log["level"].is_string() && log["timestamp"].is_string(),
            "{line}"
        );
    }
    assert!(
        finished.stderr.contains(r#""level":"TRACE""#),
        "the most detailed level is logged"
    );
    let signature = token.rsplit_once('.').expect("three parts").1;
    for secret in [SECRET, "open-sesame", key, WRONG_KEY, &token, signature] {
        let line = finished.stderr.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "a secret in a log");
    }
}

#[tokio::test]
async fn port_in_use_is_reported() {
    let place = CommandSetup::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = address.port().to_string();
    let finished = place
        .home
        .run(&["serve"], &place.with_variables(&[("PORT", &port)]))
        .await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished.stderr.contains(&format!(
            "can't listen on {address}: Address already in use"
        )),
        "{}",
        finished.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_reports_liveness() {
    let place = CommandSetup::new().await;
    // Nothing else may answer there after the end of the server.
    let reserved = ReservedPort::new();
    let port = reserved.number();
    let server = place.start(&["serve"], &[("PORT", &port), ("REUSE_PORT", "true")]);
    assert_eq!(server.listen_address().await, reserved.address());
    let health = async |variables: &[(&str, &str)], arguments: &[&str]| {
        let finished = place
            .home
            .run(&[&["healthcheck"], arguments].concat(), variables)
            .await;
        assert_eq!(finished.stdout, "");
        finished.code
    };
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert_eq!(health(&[("PORT", &port)], &[]).await, Some(0));
    wait_until("ready", async || {
        health(&[], &["--url", &url("/ready")]).await == Some(0)
    })
    .await;
    assert_eq!(health(&[], &["--url", &url("/nowhere")]).await, Some(1));
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit().await.code, Some(0));
    assert_eq!(health(&[("PORT", &port)], &[]).await, Some(1));
    assert_eq!(health(&[("PORT", "eighty")], &[]).await, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_starts_before_its_database() {
    let place = CommandSetup::new().await;
    let server = place.start(
        &["serve"],
        &[("DATABASE_URL", "postgresql://u:open-sesame@127.0.0.1:1/d")],
    );
    let address = server.listen_address().await;
    let home = &place.home;
    home.run_for_stdout(
        &["healthcheck", "--url", &format!("http://{address}/health")],
        &[],
    )
    .await;
    let ready = home
        .run(
            &["healthcheck", "--url", &format!("http://{address}/ready")],
            &[],
        )
        .await;
    assert!(
        ready.code == Some(1) && ready.stderr.contains("503"),
        "{ready:?}"
    );
    server.signal(Signal::TERM);
    let finished = server.wait_for_exit().await;
    assert!(
        finished.code == Some(0) && !finished.stderr.contains("open-sesame"),
        "{finished:?}"
    );
}
