//! Channels with several key parts, with parameters and without a key, and event streams of several
//! channels.

use tokio::net::TcpStream;

use super::backend::{BROKEN, UNREADABLE, admin, token};
use super::*;
use latido_protocol::Staleness;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// Opens an event stream.
async fn follow(server: &TestServer, path: &str, token: &str) -> TcpStream {
    let mut socket = server.connect().await;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\n{}\r\n\r\n",
        bearer(token)
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Reads until all these texts came, in any order.
async fn read_all(socket: &mut TcpStream, texts: &[&str]) -> String {
    let mut seen = String::new();
    for text in texts {
        while !seen.contains(text) {
            seen += &read_until(socket, "\n\n").await;
        }
    }
    seen
}

/// Returns the end of a snapshot's frame of that channel.
fn snapshot_of(channel: &str) -> String {
    format!(r#","channel":"{channel}","v":"#)
}

async fn assert_no_viewers(server: &TestServer) {
    eventually(|| (server.state.hub.counts() == (0, 0)).then_some(())).await;
    assert_eq!(server.state.hub.param_sets(), 0);
}

#[tokio::test]
async fn addresses_have_a_segment_for_each_part_and_parameters() {
    let server = TestServer::with(Config::default());
    server.number.set(5);
    let bearer = bearer(&admin());
    let get = async |path: &str| server.get(path, &[&bearer]).await;
    let caja = get("/cajas/tienda_007/c%2F1?desde=2026-11-01").await;
    assert_eq!(caja.status, 200, "{}", caja.body);
    let data = caja.json();
    let parts = (data["tienda_id"].as_str(), data["caja"].as_str());
    assert_eq!(parts, (Some("tienda_007"), Some("c/1")));
    assert_eq!(data["total_citas"].as_u64(), Some(5));
    let tag = caja.header("etag").unwrap().replace("w/", "W/");
    let tag = format!("If-None-Match: {tag}");
    let address = "/cajas/tienda_007/c%2F1?desde=2026-11-02";
    assert_eq!(server.get(address, &[&bearer, &tag]).await.status, 304);
    let head = server.request("HEAD /totales?x=1", &[&bearer], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(get("/totales").await.json()["timestamp"].is_i64());
    let in_query = format!("/cajas/7/3?token={}&desde=2026-11-01", admin());
    let answer = server.get(&in_query, &[]).await;
    assert_eq!(answer.status, 200, "the token is no parameter");
    for (path, named) in [
        ("/cajas/7/3?desde=2026-11-01&hasta=x", "hasta"),
        ("/cajas/7/3?desde=ayer", "desde: expected a date"),
        ("/cajas/7/3", "desde is missing"),
        ("/cajas/7/3/events?desde=ayer", "desde: expected a date"),
        (
            "/cajas/x/3?desde=2026-11-01",
            "tienda_id: expected an integer",
        ),
        ("/cajas/7/%ff?desde=2026-11-01", "cajas:<tienda_id>/<caja>"),
    ] {
        let refused = get(path).await;
        let answer = (refused.status, refused.code());
        assert_eq!(answer, (400, "invalid_key".to_owned()), "{path}");
        assert!(refused.body.contains(named), "{path}: {}", refused.body);
    }
    assert_no_viewers(&server).await;
}

#[tokio::test]
async fn other_addresses_and_methods_are_refused() {
    let server = TestServer::with(Config::default());
    let bearer = bearer(&admin());
    for path in [
        "/cajas",
        "/cajas/7",
        "/cajas/7/3/4",
        "/totales/7",
        "/totales/",
        "/ventas",
        "/ventas/7/3",
        "/events/7",
    ] {
        assert_eq!(server.get(path, &[&bearer]).await.status, 404, "{path}");
    }
    for (path, allowed) in [
        ("/totales", "get, head"),
        ("/cajas/7/3", "get, head"),
        ("/totales/events", "get"),
        ("/events", "get"),
    ] {
        let refused = server.request(&format!("POST {path}"), &[], "").await;
        let answer = (refused.status, refused.header("allow"));
        assert_eq!(answer, (405, Some(allowed)), "{path}");
        assert_eq!(server.get(path, &[]).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn every_channel_has_its_event_stream() {
    let server = TestServer::with(Config::default());
    for path in ["/totales/events", "/cajas/7/3/events?desde=2026-11-01"] {
        let mut socket = follow(&server, path, &admin()).await;
        read_until(&mut socket, "total_citas").await;
        assert_eq!(server.state.hub.counts(), (1, 1), "{path}");
        drop(socket);
        assert_no_viewers(&server).await;
    }
}

#[tokio::test]
async fn one_response_carries_several_channels() {
    let server = TestServer::with(Config::default());
    let path = "/events?channel=estadisticas:a&channel=cajas:7%2F3%3Fdesde%3D2026-11-01&channel=totales&channel=totales";
    let mut socket = follow(&server, path, &admin()).await;
    let channels = ["estadisticas:a", "cajas:7/3?desde=2026-11-01", "totales"].map(snapshot_of);
    let seen = read_all(&mut socket, &channels.each_ref().map(String::as_str)).await;
    let head = seen.to_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{seen}");
    let event = "event:caja\ndata:{\"type\":\"caja\",\"data\":{\"tienda_id\":\"7\",\"caja\":\"3\",\"total_citas\":0";
    assert!(seen.contains(event), "{seen}");
    assert_eq!(
        server.state.hub.counts(),
        (3, 3),
        "a repeated name counts once"
    );
    server.number.set(7);
    let mut seen = String::new();
    while seen.matches("\"total_citas\":7").count() < 3 {
        seen += &read_until(&mut socket, "\n\n").await;
    }
    assert!(seen.contains("\nid:"), "{seen}");
    // Each channel reports the status of the database, which is sent once.
    server.state.hub.set_staleness(Staleness::StaleSince(5));
    let stale =
        "event:status\ndata:{\"type\":\"status\",\"data\":{\"stale\":true,\"since\":5}}\n\n";
    let mut seen = read_all(&mut socket, &[stale]).await;
    server.state.hub.set_staleness(Staleness::Fresh);
    let fresh = "event:status\ndata:{\"type\":\"status\",\"data\":{\"stale\":false}}\n\n";
    seen += &read_all(&mut socket, &[fresh]).await;
    server.number.set(8);
    seen += &read_all(&mut socket, &["\"total_citas\":8"]).await;
    let counts = [stale, fresh].map(|status| seen.matches(status).count());
    assert_eq!(counts, [1, 1], "{seen}");
    server.state.drain.stop();
    read_until(&mut socket, "retry:").await;
    assert_no_viewers(&server).await;
}

#[tokio::test]
async fn channels_of_one_response_are_refused_for_themselves() {
    let server = TestServer::with(Config::default());
    let user = token("u", 3_600, Some("a"));
    let path =
        "/events?channel=estadisticas:b&channel=estadisticas:a&channel=nada:1&channel=ventas:x";
    let mut socket = follow(&server, path, &user).await;
    let allowed = snapshot_of("estadisticas:a");
    let refused = [
        "event:error\ndata:{\"type\":\"error\",\"data\":{\"code\":\"forbidden\"",
        "\"code\":\"unknown_channel\"",
        "\"code\":\"invalid_key\"",
        &allowed,
    ];
    read_all(&mut socket, &refused).await;
    server.number.set(3);
    read_until(&mut socket, "\"total_citas\":3").await;
    let clock = &server.state.clock;
    clock.set(jiff::Timestamp::from_second(clock.unix_s() + 4_000).unwrap());
    read_until(&mut socket, "0\r\n\r\n").await;
    assert_no_viewers(&server).await;
}

#[tokio::test]
async fn response_without_any_channel_is_refused() {
    let server = TestServer::with(Config::default());
    let user = bearer(&token("u", 3_600, Some("a")));
    for (channels, status, code) in [
        ("channel=estadisticas:b&channel=ventas:x", 403, "forbidden"),
        ("channel=nada:1", 404, "unknown_channel"),
        ("channel=ventas:x", 400, "invalid_key"),
        ("channels=ventas:7", 400, "bad_request"),
        ("", 400, "bad_request"),
    ] {
        let refused = server.get(&format!("/events?{channels}"), &[&user]).await;
        let answer = (refused.status, refused.code());
        assert_eq!(answer, (status, code.to_owned()), "{channels}");
    }
    let many: Vec<_> = (0..101).map(|n| format!("channel=ventas:{n}")).collect();
    let path = format!("/events?{}", many.join("&"));
    let refused = server.get(&path, &[&bearer(&admin())]).await;
    let answer = (refused.status, refused.code());
    assert_eq!(answer, (400, "too_many_channels".to_owned()));
}

#[tokio::test]
async fn channel_is_held_while_its_rights_are_unknown() {
    let server = TestServer::with(Config {
        answer_timeout: Duration::from_secs(2),
        ..Config::default()
    });
    let user = token(BROKEN, 3_600, Some("a"));
    let path = "/events?channel=estadisticas:b&channel=estadisticas:a";
    let mut socket = follow(&server, path, &user).await;
    let held = "event:status\ndata:{\"type\":\"status\",\"channel\":\"estadisticas:b\",\"data\":{\"stale\":true,\"since\":";
    let followed = snapshot_of("estadisticas:a");
    read_all(&mut socket, &[held, &followed]).await;
    server.number.set(3);
    read_until(&mut socket, "\"total_citas\":3").await;
}

#[tokio::test]
async fn failing_channel_is_told_and_its_status_taken_back() {
    let server = TestServer::with(Config::default());
    let path = format!("/events?channel=estadisticas:a&channel=estadisticas:{UNREADABLE}");
    let mut socket = follow(&server, &path, &admin()).await;
    let read = snapshot_of("estadisticas:a");
    let seen = read_all(&mut socket, &[&read, "\"code\":\"unavailable\""]).await;
    assert!(!seen.contains("event:status"), "it has no numbers: {seen}");
    let channel = server.state.catalog.resolve("estadisticas:a").unwrap();
    assert!(server.state.hub.set_unreadable(&channel.topic, 5));
    let stale = "event:status\ndata:{\"type\":\"status\",\"channel\":\"estadisticas:a\",\"data\":{\"stale\":true,\"since\":5}}";
    let told = read_all(&mut socket, &[stale]).await;
    assert!(told.contains("\"code\":\"unavailable\""), "{told}");
    server.number.set(9);
    let fresh = "event:status\ndata:{\"type\":\"status\",\"channel\":\"estadisticas:a\",\"data\":{\"stale\":false}}";
    let told = read_all(&mut socket, &[fresh]).await;
    assert!(told.contains("\"total_citas\":9"), "{told}");
}

#[tokio::test]
async fn choices_of_parameters_are_limited() {
    let mut world = HttpBackend::new(Config::default());
    let catalog = Arc::clone(&world.state.catalog);
    let hub = latido_hub::Hub::new(catalog, world.state.engine.observer());
    world.state.hub = Arc::new(hub.with_param_sets_per_key(2));
    let server = TestServer::start(world);
    let names = [("3", "01"), ("3", "02"), ("4", "01")];
    let names =
        names.map(|(caja, day)| format!("channel=cajas:7%2F{caja}%3Fdesde%3D2026-11-{day}"));
    let path = format!("/events?{}", names.join("&"));
    let mut socket = follow(&server, &path, &admin()).await;
    read_until(&mut socket, "HTTP/1.1 200").await;
    let hub = &server.state.hub;
    assert_eq!((hub.counts(), hub.param_sets()), ((3, 3), 3));
    let refused = server
        .get("/cajas/7/3?desde=2026-11-04", &[&bearer(&admin())])
        .await;
    let answer = (refused.status, refused.code());
    assert_eq!(answer, (429, "too_many_channels".to_owned()));
    assert!(refused.header("retry-after").is_some());
    let further = format!(
        "/events?channel=cajas:7%2F3%3Fdesde%3D2026-11-05&{}",
        names[0]
    );
    let mut second = follow(&server, &further, &admin()).await;
    read_until(&mut second, "\"code\":\"too_many_channels\"").await;
    let metrics = server.get("/metrics", &[]).await.body;
    assert!(metrics.contains("latido_param_sets 3\n"), "{metrics}");
    assert!(
        metrics.contains("latido_param_sets_refused_total 2\n"),
        "{metrics}"
    );
    drop((socket, second));
    assert_no_viewers(&server).await;
}
