//! Requests that two servers in a row might read differently, and addresses in another spelling.

use super::backend::{admin, token};
use super::upgrades::{UPGRADE, frame, read_response};
use super::*;
use latido_auth::{Verifier, VerifierConfig, test_keys};

/// Sends bytes on a new connection and reads to its end.
async fn send(server: &TestServer, bytes: &str) -> TestResponse {
    let mut socket = server.connect().await;
    socket.write_all(bytes.as_bytes()).await.unwrap();
    TestResponse::read(&mut socket).await
}

/// Returns a valid request for `/ws`, with a token.
fn websocket_request() -> String {
    format!(
        "GET /ws?token={} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n",
        admin(),
        UPGRADE.join("\r\n")
    )
}

#[tokio::test]
async fn request_without_exactly_one_host_is_rejected() {
    let server = TestServer::with(Config::default());
    for request in [
        "GET /health HTTP/1.1\r\nHost: test\r\n\r\n",
        &websocket_request(),
    ] {
        for host in [
            "",
            "Host: test\r\nHost: test\r\n",
            "Host: test\r\nhost: other\r\n",
        ] {
            let answer = send(&server, &request.replace("Host: test\r\n", host)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "host"),
                "{host:?}"
            );
        }
    }
    let old = send(&server, "GET /health HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status, 200, "HTTP/1.0 has no Host");
}

#[tokio::test]
async fn line_that_ends_without_cr_is_rejected() {
    let server = TestServer::with(Config::default());
    let first = "GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n";
    for request in [
        "GET /health HTTP/1.1\r\nHost: test\r\n\r\n",
        &websocket_request(),
    ] {
        for (at, _) in request.match_indices("\r\n") {
            let mut bare = request.to_owned();
            bare.remove(at);
            assert_eq!(send(&server, &bare).await.status, 400, "{bare:?}");
            let mut socket = server.connect().await;
            let both = format!("{first}{bare}");
            socket.write_all(both.as_bytes()).await.unwrap();
            let mut answers = Vec::new();
            socket.read_to_end(&mut answers).await.unwrap();
            let answers = String::from_utf8(answers).unwrap();
            assert!(answers.starts_with("HTTP/1.1 404 "), "{answers}");
            assert!(answers.contains("HTTP/1.1 400 "), "{bare:?}: {answers}");
        }
    }
}

#[tokio::test]
async fn connection_goes_on_after_a_refused_upgrade() {
    let server = TestServer::with(Config::default());
    let mut socket = server.connect().await;
    let refused = websocket_request().replace("?token=", "?token=x");
    socket.write_all(refused.as_bytes()).await.unwrap();
    assert_eq!(read_response(&mut socket).await.status, 401);
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(read_response(&mut socket).await.status, 200);
    socket
        .write_all(b"GET /health HTTP/1.1\nHost: test\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(TestResponse::read(&mut socket).await.status, 400);
}

#[tokio::test]
async fn frames_behind_an_upgrade_may_contain_line_feeds() {
    let server = TestServer::with(Config::default());
    let mut socket = server.connect().await;
    // Content-Length keeps the request off the fast path.
    let head = websocket_request().replace("Host: test", "Host: test\r\nContent-Length: 0");
    let text = "{\"type\":\n\"ping\"\n}";
    socket
        .write_all(&[head.as_bytes(), &frame(text)].concat())
        .await
        .unwrap();
    super::upgrades::read_until_text(&mut socket, r#"{"type":"pong"}"#).await;
}

#[tokio::test]
async fn later_request_head_has_the_deadline_of_the_first() {
    let server = TestServer::with(Config {
        head_timeout: Duration::from_millis(300),
        ..Config::default()
    });
    let mut socket = server.connect().await;
    let request = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n";
    socket.write_all(request).await.unwrap();
    assert_eq!(read_response(&mut socket).await.status, 200);
    // A connection may idle for longer.
    tokio::time::sleep(Duration::from_millis(700)).await;
    socket.write_all(request).await.unwrap();
    assert_eq!(read_response(&mut socket).await.status, 200);
    socket.write_all(b"GET /he").await.unwrap();
    let started = std::time::Instant::now();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(TEST_TIMEOUT, socket.read_to_end(&mut rest)).await;
    // A reset is an end as well.
    let _ = ended.expect("the server closes");
    assert!(started.elapsed() < server.state.config.keep_alive / 2);
    let metrics = server.get("/metrics", &[]).await.body;
    assert!(
        metrics.contains(r#"latido_refusals_total{reason="slow_head"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn each_address_has_one_spelling() {
    let server = TestServer::with(Config::default());
    for path in [
        "/metrics/",
        "//metrics",
        "/metrics//",
        "/health/",
        "//health",
        "/ready/",
        "/ws/",
        "/notify/estadisticas/",
        "/estadisticas/7/",
        "/estadisticas//7",
        "//estadisticas/7",
        "/estadisticas/7/events/",
        "/openapi.json/",
        "//dashboard",
        "/dashboard//",
        "/dashboard//clients",
        "/%6detrics",
        "/./metrics",
    ] {
        let answer = server.get(path, &[]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn operators_address_with_a_slash_at_its_end_is_redirected() {
    let server = TestServer::with(Config::default());
    for (path, target) in [
        ("/dashboard/", "/dashboard"),
        ("/dashboard/clients/", "/dashboard/clients"),
        (
            "/api/dashboard/events/?limit=2",
            "/api/dashboard/events?limit=2",
        ),
    ] {
        let answer = server.get(path, &[]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (308, Some(target))
        );
    }
}

#[tokio::test]
async fn no_page_may_read_the_metrics() {
    let server = TestServer::with(Config::default());
    let origin = "Origin: https://evil.example";
    let shared = server.get("/health", &[origin]).await;
    assert_eq!(shared.header("access-control-allow-origin"), Some("*"));
    let metrics = server.get("/metrics", &[origin]).await;
    assert_eq!(
        (
            metrics.status,
            metrics.header("access-control-allow-origin")
        ),
        (200, None)
    );
    let preflight = [origin, "Access-Control-Request-Method: GET"];
    let answer = server.request("OPTIONS /metrics", &preflight, "").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (403, None)
    );
}

#[tokio::test]
async fn requests_of_a_user_are_limited() {
    let server = TestServer::with(Config {
        max_requests_per_user: 1,
        ..Config::default()
    });
    let path = |user| format!("/estadisticas/7?token={}", token(user, 60, Some("7")));
    let mut last = server.get(&path("ana"), &[]).await;
    for _ in 0..20 {
        if last.status != 200 {
            break;
        }
        last = server.get(&path("ana"), &[]).await;
    }
    assert_eq!((last.status, last.code().as_str()), (429, "request_rate"));
    assert!(last.header("retry-after").is_some());
    assert_eq!(server.get(&path("eva"), &[]).await.status, 200);
}

#[tokio::test]
async fn refusal_of_a_token_does_not_name_the_reason() {
    let server = TestServer::with(Config::default());
    let good = token("ana", 60, Some("7"));
    let mut bodies = std::collections::BTreeSet::new();
    for bad in ["x", &token("ana", -600, Some("7")), &good[..good.len() - 2]] {
        let answer = server
            .get(
                "/estadisticas/7",
                &[&format!("Authorization: Bearer {bad}")],
            )
            .await;
        assert_eq!(answer.status, 401);
        bodies.insert((
            answer.body.clone(),
            answer.header("www-authenticate").map(str::to_owned),
        ));
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn address_that_sends_costly_invalid_tokens_is_refused() {
    let mut backend = HttpBackend::new(Config::default());
    let keys = [&test_keys::RSA, &test_keys::OTHER_RSA].map(|pair| pair.public);
    let config = VerifierConfig {
        public_keys: Some(keys.join("\n")),
        ..VerifierConfig::default()
    };
    let verifier = Verifier::new(&config, backend.state.clock.clone()).unwrap();
    backend.state.verifier = Arc::new(verifier);
    let server = TestServer::start(backend);
    // The header has an algorithm and no key, and the signature the length of a key's.
    let junk = format!("eyJhbGciOiJSUzI1NiJ9.e30.{}", "A".repeat(342));
    let header = format!("Authorization: Bearer {junk}");
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(server.get("/estadisticas/7", &[&header]).await.status);
        if statuses.last() == Some(&429) {
            break;
        }
    }
    assert!(statuses.len() > 10, "a few are checked: {statuses:?}");
    assert_eq!((statuses[0], statuses.last()), (401, Some(&429)));
    let cheap = token("ana", 60, Some("7"));
    let other = server
        .get(&format!("/estadisticas/7?token={cheap}"), &[])
        .await;
    assert_eq!(other.status, 401, "another kind of token is checked");
}
