//! Limits per user and per address, and trust in proxies.

use super::backend::{admin, token};
use super::upgrades::{UPGRADE, frame, read_response, read_until_text, send_request};
use super::*;

fn ws(user: &str) -> String {
    format!("/ws?token={}", token(user, 60, Some("a")))
}

#[tokio::test]
async fn connections_per_user_are_limited_across_transports() {
    let server = TestServer::with(Config {
        max_connections_per_user: Some(2),
        ..Config::default()
    });
    let mut socket = send_request(&server, &ws("ana"), &UPGRADE).await;
    assert_eq!(read_response(&mut socket).await.status, 101);
    // An event stream counts as well.
    let mut stream = server.connect().await;
    let request = format!(
        "GET /estadisticas/a/events?token={} HTTP/1.1\r\nHost: test\r\n\r\n",
        token("ana", 60, Some("a"))
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut stream, "total_citas").await;

    let refused = read_response(&mut send_request(&server, &ws("ana"), &UPGRADE).await).await;
    assert_eq!(
        (
            refused.status,
            refused.code().as_str(),
            refused.header("retry-after")
        ),
        (429, "user_limit", Some("5"))
    );
    assert_eq!(server.state.metrics.refusals.get("user_limit"), 1);
    assert_eq!(
        read_response(&mut send_request(&server, &ws("eva"), &UPGRADE).await)
            .await
            .status,
        101,
        "other users are not affected"
    );
    let plain = format!("/estadisticas/a?token={}", token("ana", 60, Some("a")));
    assert_eq!(
        server.get(&plain, &[]).await.status,
        200,
        "a single request does not count"
    );

    drop(socket);
    let mut status = 429;
    while status == 429 {
        status = read_response(&mut send_request(&server, &ws("ana"), &UPGRADE).await)
            .await
            .status;
    }
    assert_eq!(status, 101, "the permit is released");
}

#[tokio::test]
async fn connect_rate_is_limited_without_harm_to_open_connections() {
    let server = TestServer::with(Config {
        max_handshakes_per_second: Some(3),
        ..Config::default()
    });
    let mut socket = send_request(&server, &ws("ana"), &UPGRADE).await;
    assert_eq!(read_response(&mut socket).await.status, 101);
    let mut shed = 0;
    for _ in 0..20 {
        let answer = server.get("/health", &[]).await;
        if answer.status == 503 {
            assert_eq!(
                (answer.code().as_str(), answer.header("retry-after")),
                ("handshake_rate", Some("5"))
            );
            shed += 1;
        }
    }
    assert!(shed > 10, "{shed} of 20 were shed");
    assert_eq!(server.state.metrics.refusals.get("handshake_rate"), shed);
    socket
        .write_all(&frame(r#"{"type":"ping"}"#))
        .await
        .unwrap();
    read_until_text(&mut socket, r#"{"type":"pong"}"#).await;
}

#[tokio::test]
async fn trusted_proxy_names_the_client_address() {
    let proxies = "127.0.0.1".parse().unwrap();
    let server = TestServer::with(Config {
        max_connections_per_address: Some(1),
        proxies,
        ..Config::default()
    });
    let from = async |forwarded: &str| {
        let forwarded = format!("X-Forwarded-For: {forwarded}");
        let headers: Vec<_> = UPGRADE.into_iter().chain([forwarded.as_str()]).collect();
        let mut socket = send_request(&server, &ws("ana"), &headers).await;
        (read_response(&mut socket).await.status, socket)
    };
    let (status, _one) = from("203.0.113.1").await;
    assert_eq!(status, 101);
    let (status, _two) = from("203.0.113.2").await;
    assert_eq!(status, 101, "behind one proxy, and two addresses");
    // A client's own claim stands left of the address that the proxy adds.
    assert_eq!(from("203.0.113.77, 203.0.113.1").await.0, 503);
    assert_eq!(server.state.metrics.refusals.get("address_limit"), 1);
    assert_eq!(
        server.get("/health", &[]).await.status,
        200,
        "the proxy itself has no limit"
    );
}

#[tokio::test]
async fn forwarded_header_of_an_untrusted_peer_is_ignored() {
    let server = TestServer::with(Config {
        max_connections_per_address: Some(1),
        ..Config::default()
    });
    let headers: Vec<_> = UPGRADE
        .into_iter()
        .chain(["X-Forwarded-For: 203.0.113.1"])
        .collect();
    let mut socket = send_request(&server, &ws("ana"), &headers).await;
    assert_eq!(read_response(&mut socket).await.status, 101);
    let headers: Vec<_> = UPGRADE
        .into_iter()
        .chain(["X-Forwarded-For: 203.0.113.2"])
        .collect();
    assert_eq!(
        read_response(&mut send_request(&server, &ws("ana"), &headers).await)
            .await
            .code(),
        "address_limit"
    );
}

#[tokio::test]
async fn ambient_credentials_do_not_authenticate() {
    let server = TestServer::with(Config::default());
    let token = admin();
    let ambient = [
        format!(
            "Cookie: token={token}; jwt={token}; session={token}; Authorization=Bearer {token}"
        ),
        format!("Authorization: Basic {token}"),
        format!("Referer: https://panel.example/?token={token}"),
        format!("Origin: https://{}.example", &token[..8]),
        "X-Forwarded-User: admin".to_owned(),
        "X-Forwarded-Access-Token: admin".to_owned(),
    ];
    let headers: Vec<_> = UPGRADE
        .into_iter()
        .chain(ambient.iter().map(String::as_str))
        .collect();
    for path in [
        "/ws",
        "/estadisticas/a",
        "/estadisticas/a/events",
        "/dashboard/clients",
    ] {
        let answer = read_response(&mut send_request(&server, path, &headers).await).await;
        assert!(
            [401, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.head.contains("set-cookie"));
    }
}
