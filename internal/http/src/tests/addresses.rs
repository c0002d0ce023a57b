//! The other addresses: health, readiness, metrics, the page, snapshots, event streams, and unknown
//! paths.

use warp::Filter as _;

use super::backend::{BROKEN, SLOW, admin, token};
use super::*;
use latido_protocol::Staleness;

#[tokio::test]
async fn health_readiness_and_metrics_are_served() {
    let server = TestServer::with(Config::default());
    let health = server.get("/health", &[]).await;
    assert_eq!(
        (health.status, health.json()["status"].as_str()),
        (200, Some("ok"))
    );
    let head = server.request("HEAD /health", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(
        server
            .request("POST /health", &[], "")
            .await
            .header("allow"),
        Some("get, head")
    );
    let ready = server.get("/ready", &[]).await;
    assert_eq!(
        (ready.status, ready.json()["ready"].as_bool()),
        (200, Some(true))
    );
    let metrics = server.get("/metrics", &[]).await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    assert!(
        metrics
            .body
            .contains("latido_refusals_total{reason=\"method_not_allowed\"} 1"),
        "{}",
        metrics.body
    );
    assert!(
        metrics
            .body
            .contains("latido_reads_total{source=\"trigger\"} 0"),
        "{}",
        metrics.body
    );
    assert!(
        metrics
            .body
            .contains("# TYPE latido_refusals_total counter")
            && !metrics.body.contains("# EOF")
    );
    assert!(metrics.body.contains("latido_sockets 1"));
    let open = server
        .get(
            "/metrics",
            &["Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1"],
        )
        .await;
    assert!(
        open.header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(open.body.ends_with("# EOF\n"));

    let server = TestServer::start(HttpBackend::without_database(Config::default()));
    let ready = server.get("/ready", &[]).await;
    assert_eq!(
        (ready.status, ready.json()["database"]["problem"].as_str()),
        (503, Some("connection refused"))
    );
    assert_eq!(server.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn unknown_path_is_a_404_with_the_common_error_body() {
    let server = TestServer::with(Config::default());
    for path in [
        "/nothing",
        "/nothing/here",
        "/estadisticas",
        "/estadisticas/a/other",
        "/ws/x",
        "/notify",
        "/%ff/%ff",
    ] {
        let missing = server.get(path, &[]).await;
        assert_eq!(
            (missing.status, missing.code().as_str()),
            (404, "not_found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn demo_session_is_a_204_without_a_demo() {
    let server = TestServer::with(Config::default());
    let answer = server.get("/demo/session", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
    assert_eq!(
        server.request("POST /demo/citas", &[], "").await.status,
        404
    );
    for (other, path) in [("TRACE", "session"), ("POST", "operator"), ("GET", "citas")] {
        let line = format!("{other} /demo/{path}");
        assert_eq!(server.request(&line, &[], "").await.status, 405, "{line}");
    }
}

#[tokio::test]
async fn page_has_an_entity_tag_and_a_content_security_policy() {
    let server = TestServer::with(Config::default());
    let page = server.get("/", &[]).await;
    assert_eq!((page.status, page.body.as_str()), (200, "<!doctype html>"));
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let again = server
        .get(
            "/",
            &[&format!("If-None-Match: {}", page.header("etag").unwrap())],
        )
        .await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(
        server.get("/app.js", &[]).await.header("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    assert_eq!(server.request("POST /app.js", &[], "").await.status, 405);
}

#[tokio::test]
async fn additional_routes_precede_those_of_the_streams() {
    let book = warp::path!("demo" / "book")
        .and(warp::post())
        .map(|| warp::Reply::into_response("booked"));
    let extra = Some(book.boxed());
    let mut world = HttpBackend::new(Config::default());
    world.state.extra_routes = extra;
    let server = TestServer::start(world);
    assert_eq!(
        server.request("POST /demo/book", &[], "").await.body,
        "booked"
    );
    assert_eq!(server.get("/health", &[]).await.status, 200);
}

#[tokio::test]
async fn specification_contains_the_columns_known_so_far() {
    for (reached, world) in [
        (true, HttpBackend::new(Config::default())),
        (false, HttpBackend::without_database(Config::default())),
    ] {
        let document = TestServer::start(world)
            .get("/openapi.json", &[])
            .await
            .json();
        let data = &document["components"]["schemas"]["Data.ventas"];
        assert_eq!(
            data["properties"]["total_citas"].is_object(),
            reached,
            "{data}"
        );
        assert_eq!(data["additionalProperties"].as_bool(), Some(!reached));
        assert!(
            document["paths"]["/ventas/{tienda_id}"].is_object()
                && document["paths"]["/notify/cita"].is_object()
        );
    }
}

#[tokio::test]
async fn snapshot_returns_the_current_data() {
    let server = TestServer::with(Config::default());
    server.number.set(156);
    let bearer = format!("Authorization: Bearer {}", admin());
    let snapshot = server.get("/estadisticas/a", &[&bearer]).await;
    assert_eq!(
        (snapshot.status, snapshot.json()["total_citas"].as_u64()),
        (200, Some(156))
    );
    assert_eq!(
        (
            snapshot.json()["negocio_id"].as_str(),
            snapshot.header("x-stale")
        ),
        (Some("a"), None)
    );
    assert_eq!(server.state.hub.counts(), (0, 0), "no viewer is left");

    let mut viewer = server
        .state
        .hub
        .subscribe_async(&server.state.catalog.resolve("estadisticas:a").unwrap())
        .unwrap();
    viewer.next_frame().await;
    let tag = format!(
        "If-None-Match: {}",
        server
            .get("/estadisticas/a", &[&bearer])
            .await
            .header("etag")
            .unwrap()
            .replace("w/", "W/")
    );
    assert_eq!(
        server.get("/estadisticas/a", &[&bearer, &tag]).await.status,
        304
    );
    server.number.set(157);
    viewer.next_frame().await;
    assert_eq!(
        server.get("/estadisticas/a", &[&bearer, &tag]).await.json()["total_citas"].as_u64(),
        Some(157)
    );
    server.state.hub.set_staleness(Staleness::StaleSince(5));
    assert_eq!(
        server
            .get("/estadisticas/a", &[&bearer])
            .await
            .header("x-stale"),
        Some("true")
    );
    drop(viewer);
    let unwatched = async || server.get("/estadisticas/a", &[&bearer]).await;
    let (first, second) = (unwatched().await, unwatched().await);
    assert_eq!(first.header("etag"), second.header("etag"));
}

#[tokio::test]
async fn snapshots_and_event_streams_are_rejected_alike() {
    let server = TestServer::with(Config {
        answer_timeout: Duration::from_secs(2),
        ..Config::default()
    });
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    for tail in ["", "/events"] {
        let path = |key: &str| format!("/estadisticas/{key}{tail}");
        assert_eq!(server.get(&path("a"), &[]).await.status, 401);
        assert_eq!(
            server
                .get(&path("a"), &[&bearer(&token("u", -60, Some("a")))])
                .await
                .status,
            401,
            "expired"
        );
        assert_eq!(
            server
                .get(&path("a"), &[&bearer(&token("u", 60, Some("b")))])
                .await
                .status,
            403
        );
        assert_eq!(
            server
                .get(&path("a"), &[&bearer(&token("u", 60, None))])
                .await
                .status,
            403
        );
        assert_eq!(
            server
                .get(&format!("/ventas/x{tail}"), &[&bearer(&admin())])
                .await
                .code(),
            "invalid_key"
        );
        assert_eq!(
            server
                .request(&format!("POST {}", path("a")), &[], "")
                .await
                .status,
            405
        );
        assert_eq!(
            server
                .get(
                    &format!("/ventas/%37{tail}"),
                    &[&bearer(&token("u", 60, None))]
                )
                .await
                .status,
            403,
            "decoded"
        );
    }
    let unread = server
        .get(&format!("/estadisticas/{SLOW}"), &[&bearer(&admin())])
        .await;
    assert_eq!(
        (unread.status, unread.code().as_str()),
        (503, "unavailable")
    );
}

#[tokio::test]
async fn event_stream_sends_changes() {
    let server = TestServer::with(Config {
        event_heartbeat: Duration::from_millis(50),
        ..Config::default()
    });
    let mut socket = server.connect().await;
    let path = format!("/estadisticas/a/events?token={}", admin());
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let seen = read_until(&mut socket, "\"total_citas\":0").await;
    let head = seen.to_lowercase();
    assert!(
        head.contains("content-type: text/event-stream")
            && head.contains("cache-control: no-store"),
        "{head}"
    );
    assert!(
        head.contains("x-accel-buffering: no") && head.contains("event:stats\n"),
        "{head}"
    );
    read_until(&mut socket, ":\n\n").await;
    server.number.set(7);
    let changed = read_until(&mut socket, "\"total_citas\":7").await;
    assert!(
        changed.contains("event:stats\ndata:{\"negocio_id\":\"a\""),
        "{changed}"
    );
    read_until(&mut socket, "id:").await;
    server.state.hub.set_staleness(Staleness::StaleSince(5));
    read_until(
        &mut socket,
        "event:status\ndata:{\"stale\":true,\"since\":5}\n\n",
    )
    .await;
    assert_eq!(server.state.hub.counts(), (1, 1));
    drop(socket);
    eventually(|| (server.state.hub.counts() == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn event_stream_ends_with_its_token() {
    let server = TestServer::with(Config::default());
    let mut socket = server.connect().await;
    let path = format!(
        "/estadisticas/a/events?token={}",
        token("u", 3_600, Some("a"))
    );
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes())
        .await
        .unwrap();
    read_until(&mut socket, "total_citas").await;
    let clock = &server.state.clock;
    clock.set(jiff::Timestamp::from_second(clock.unix_s() + 4_000).unwrap());
    read_until(&mut socket, "0\r\n\r\n").await;
    eventually(|| (server.state.hub.counts() == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn cross_origin_headers_follow_the_allow_list() {
    let server = TestServer::with(Config::default());
    assert_eq!(
        server
            .get("/health", &[])
            .await
            .header("access-control-allow-origin"),
        Some("*")
    );
    let missing = server.get("/nothing", &["Origin: https://a.example"]).await;
    assert_eq!(
        (
            missing.status,
            missing.header("access-control-allow-origin")
        ),
        (404, Some("*")),
        "errors can be read too"
    );

    let origins = "https://panel.example.com".parse().unwrap();
    let server = TestServer::with(Config {
        origins,
        ..Config::default()
    });
    let ask = [
        "Origin: https://panel.example.com",
        "Access-Control-Request-Method: GET",
    ];
    let preflight = server.request("OPTIONS /estadisticas/a", &ask, "").await;
    assert_eq!(
        (
            preflight.status,
            preflight.header("access-control-allow-origin")
        ),
        (204, Some("https://panel.example.com"))
    );
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(
        ["authorization", "x-api-key", "content-type"]
            .iter()
            .all(|name| headers.contains(name))
    );
    assert!(
        preflight
            .header("access-control-allow-credentials")
            .is_none()
    );
    let evil = [
        "Origin: https://evil.example",
        "Access-Control-Request-Method: GET",
    ];
    assert_eq!(
        server
            .request("OPTIONS /estadisticas/a", &evil, "")
            .await
            .status,
        403
    );
    let unread = server.get("/health", &evil[..1]).await;
    assert_eq!(
        (
            unread.status,
            unread.header("access-control-allow-origin"),
            unread.header("vary")
        ),
        (200, None, Some("origin"))
    );
}

#[tokio::test]
async fn event_stream_is_held_while_the_rights_are_unknown() {
    let server = TestServer::with(Config {
        answer_timeout: Duration::from_secs(2),
        ..Config::default()
    });
    let unknown = format!("Authorization: Bearer {}", token(BROKEN, 60, None));
    assert_eq!(server.get("/estadisticas/a", &[&unknown]).await.status, 503);
    let mut held = server.connect().await;
    let request = format!("GET /estadisticas/a/events HTTP/1.1\r\nHost: test\r\n{unknown}\r\n\r\n");
    held.write_all(request.as_bytes()).await.unwrap();
    let text = read_until(&mut held, "}\n\n").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let status = "event:status\ndata:{\"stale\":true,\"since\":";
    assert!(text.contains(status), "{text}");
}
