//! Pages of other origins: preflights, and the cookies of apps.

use super::backend::admin;
use super::*;

const PANEL: &str = "Origin: https://panel.example.com";
const EVIL: &str = "Origin: https://evil.example";

/// Starts a server whose app lets the panel's pages use its cookies.
fn server_with_cookies(origins: &str) -> TestServer {
    let config = Config {
        origins: origins.parse().unwrap(),
        ..Config::default()
    };
    let mounts = AppMounts {
        cookie_origins: vec!["https://panel.example.com".into()],
        ..AppMounts::default()
    };
    TestServer::start_with(HttpBackend::new(config), mounts)
}

/// Returns the origin that may read a response, and whether it may send cookies.
fn allowed(response: &TestResponse) -> (Option<&str>, Option<&str>) {
    (
        response.header("access-control-allow-origin"),
        response.header("access-control-allow-credentials"),
    )
}

#[tokio::test]
async fn preflight_allows_the_headers_that_it_asks_for() {
    let server = TestServer::with(Config::default());
    let ask = [
        PANEL,
        "Access-Control-Request-Method: GET",
        "Access-Control-Request-Headers: x-trace-id,authorization",
    ];
    let preflight = server.request("OPTIONS /estadisticas/a", &ask, "").await;
    assert_eq!(
        (
            preflight.status,
            preflight.header("access-control-allow-headers"),
            preflight.header("vary")
        ),
        (
            204,
            Some("x-trace-id,authorization"),
            Some("access-control-request-headers")
        )
    );
}

#[tokio::test]
async fn pages_that_may_use_cookies_need_no_other_list() {
    for origins in ["*", "https://other.example"] {
        let server = server_with_cookies(origins);
        let response = server.get("/health", &[PANEL]).await;
        let expected = (Some("https://panel.example.com"), Some("true"));
        assert_eq!(allowed(&response), expected, "{origins}");
        let ask = [PANEL, "Access-Control-Request-Method: POST"];
        let preflight = server.request("OPTIONS /health", &ask, "").await;
        assert_eq!((preflight.status, allowed(&preflight)), (204, expected));
        let shared = server.get("/health", &[EVIL]).await;
        let expected = if origins == "*" { Some("*") } else { None };
        assert_eq!(allowed(&shared), (expected, None), "{origins}");
        assert!(shared.head.contains("vary: origin"), "a cache must know");
    }
}

#[tokio::test]
async fn own_pages_reach_the_operator_addresses() {
    let server = TestServer::with(Config {
        origins: "https://panel.example.com".parse().unwrap(),
        ..Config::default()
    });
    let token = format!("Authorization: Bearer {}", admin());
    for (origin, status) in [("Origin: http://test", 404), (EVIL, 403)] {
        let headers = [origin, token.as_str(), "Content-Length: 0"];
        let path = "POST /dashboard/clients/0-17-3/close";
        let response = server.request(path, &headers, "").await;
        assert_eq!(response.status, status, "{origin}: {}", response.body);
    }
}
