//! `POST /notify/…`, tested against its contract.

use super::backend::{HOOK_KEY, SLOW, UNREADABLE};
use super::*;

const JSON: &str = "Content-Type: application/json";

async fn hook(server: &TestServer, path: &str, headers: &[&str], body: &str) -> TestResponse {
    server
        .request(&format!("POST /notify/{path}"), headers, body)
        .await
}

fn body(key: &str) -> String {
    format!(r#"{{"negocio_id":"{key}","action":"created"}}"#)
}

#[tokio::test]
async fn hook_follows_its_contract() {
    let server = TestServer::with(Config::default());
    let good = hook(&server, "cita", &[JSON], &body("negocio_123")).await;
    assert_eq!(
        (good.status, good.body.as_str()),
        (200, r#"{"status":"processed"}"#)
    );
    assert_eq!(
        hook(&server, "cita", &[], &body("negocio_123"))
            .await
            .status,
        200,
        "no content type is JSON"
    );
    assert_eq!(
        hook(&server, "estadisticas", &[JSON], r#"{"key":"x"}"#)
            .await
            .status,
        200
    );
    assert_eq!(
        hook(&server, "ventas", &[JSON], r#"{"tienda_id":7}"#)
            .await
            .status,
        200
    );
    for bad in [
        "{",
        "[]",
        "{}",
        r#"{"negocio_id":""}"#,
        r#"{"negocio_id":7}"#,
        r#"{"negocio_id":"a","action":1}"#,
    ] {
        let refused = hook(&server, "cita", &[JSON], bad).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "bad_hook"),
            "{bad}"
        );
    }
    assert_eq!(
        server
            .request("POST /notify/cita", &[JSON], "")
            .await
            .status,
        400,
        "an empty body is not JSON"
    );
    assert!(
        hook(&server, "ventas", &[JSON], r#"{"tienda_id":"x"}"#)
            .await
            .body
            .contains("an integer")
    );
    for method in ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
        let refused = server
            .request(&format!("{method} /notify/cita"), &[], "")
            .await;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some("post")),
            "{method}"
        );
    }
    assert_eq!(
        hook(&server, "nothing", &[JSON], &body("a")).await.status,
        404
    );
}

#[tokio::test]
async fn failed_read_is_an_error_within_the_deadline() {
    let config = Config {
        hook_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let server = TestServer::with(config.clone());
    for key in [UNREADABLE, SLOW] {
        assert_eq!(
            hook(&server, "cita", &[JSON], &body(key)).await.status,
            200,
            "no viewer of {key}"
        );
        let name = format!("estadisticas:{key}");
        let channel = server.state.catalog.resolve(&name).unwrap();
        let _viewer = server.state.hub.subscribe_async(&channel).unwrap();
        let failed = hook(&server, "cita", &[JSON], &body(key)).await;
        assert_eq!(
            (failed.status, failed.code().as_str()),
            (500, "unsettled"),
            "{key}"
        );
    }
    let mut viewer = server
        .state
        .hub
        .subscribe_async(&server.state.catalog.resolve("estadisticas:a").unwrap())
        .unwrap();
    viewer.next_frame().await;
    assert_eq!(
        hook(&server, "cita", &[JSON], &body("a")).await.status,
        200,
        "read again at once"
    );

    let server = TestServer::start(HttpBackend::without_database(config));
    assert_eq!(hook(&server, "cita", &[JSON], &body("a")).await.status, 500);
}

#[tokio::test]
async fn slow_and_large_bodies_are_rejected() {
    let config = Config {
        hook_timeout: Duration::from_secs(2),
        ..Config::default()
    };
    let server = TestServer::with(config);
    let mut socket = server.connect().await;
    socket
        .write_all(
            b"POST /notify/cita HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{\"nego",
        )
        .await
        .unwrap();
    assert_eq!(TestResponse::read(&mut socket).await.code(), "slow_body");

    let large = format!(
        r#"{{"negocio_id":"a","padding":"{}"}}"#,
        "x".repeat(200_000)
    );
    let refused = hook(&server, "cita", &[JSON], &large).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (413, "too_large")
    );
    let mut socket = server.connect().await;
    let head = "POST /notify/cita HTTP/1.1\r\nHost: test\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(
        TestResponse::read(&mut socket).await.status,
        413,
        "an Expect header gets the error before the body is sent"
    );
}

#[tokio::test]
async fn older_content_types_are_for_programs() {
    let server = TestServer::with(Config::default());
    let (plain, form) = (
        "Content-Type: text/plain;charset=UTF-8",
        "Content-Type: application/x-www-form-urlencoded",
    );
    for (content_type, body) in [
        (plain, body("a")),
        (form, body("a")),
        (form, "negocio_id=a&action=created".to_owned()),
    ] {
        let status = async |headers: &[&str]| hook(&server, "cita", headers, &body).await.status;
        assert_eq!(status(&[content_type]).await, 200, "{content_type}");
        let origin = "Origin: https://panel.example.com";
        assert_eq!(status(&[content_type, origin]).await, 415, "{content_type}");
    }
    let html = "Content-Type: text/html";
    assert_eq!(hook(&server, "cita", &[html], &body("a")).await.status, 415);
    let no_key = hook(&server, "cita", &[form], "action=created").await;
    assert_eq!((no_key.status, no_key.code().as_str()), (400, "bad_hook"));
}

#[tokio::test]
async fn api_key_is_required_if_configured() {
    let server = TestServer::start(HttpBackend::with_hook_key());
    let (header, bearer) = (
        format!("X-API-Key: {HOOK_KEY}"),
        format!("Authorization: Bearer {HOOK_KEY}"),
    );
    assert_eq!(
        hook(&server, "cita", &[JSON, &header], &body("a"))
            .await
            .status,
        200
    );
    assert_eq!(
        hook(&server, "cita", &[JSON, &bearer], &body("a"))
            .await
            .status,
        200
    );
    for headers in [
        &[JSON][..],
        &[JSON, "X-API-Key: wrong"],
        &[JSON, "Authorization: Bearer wrong"],
    ] {
        let refused = hook(&server, "cita", headers, &body("a")).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "unauthorized")
        );
    }
    assert_eq!(server.state.metrics.refusals.get("hook_key"), 3);
}

#[tokio::test]
async fn hooks_over_the_rate_get_429() {
    let config = Config {
        hook_burst: 2,
        hook_per_second: 1,
        ..Config::default()
    };
    let server = TestServer::with(config);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(hook(&server, "cita", &[JSON], &body("a")).await);
    }
    assert_eq!(statuses[0].status, 200);
    let refused = statuses
        .iter()
        .find(|answer| answer.status == 429)
        .expect("some are refused");
    assert_eq!(
        (refused.code().as_str(), refused.header("retry-after")),
        ("rate_limited", Some("1"))
    );
}
