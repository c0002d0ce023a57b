//! Golden tests of the HTTP routes.

use serde_json::json;

use super::{WorkspaceWorld, member_token};
use latido_http::{AppRequest, HttpApp as _};

const SUCCESS: &str = r#"{"type":"auth_success"}"#;

#[test]
fn invalid_requests_are_refused() {
    let world = WorkspaceWorld::new();
    let unauthorized = (401, r#"{"error":"Unauthorized"}"#.to_owned());
    for path in [
        "/api/workspaces/1/notify",
        "/api/workspaces/1/broadcast",
        "/api/users/1/message",
    ] {
        assert_eq!(
            world.request(AppRequest::new("POST", path).with_body(r#"{"message":1}"#)),
            unauthorized
        );
        for key in ["", "default-api-key", "a publisher's key2"] {
            assert_eq!(
                world.request(AppRequest::new("POST", path).with_header("X-API-Key", key)),
                unauthorized,
                "{key}"
            );
        }
        assert_eq!(
            world.request(AppRequest::new("GET", path)),
            (405, r#"{"error":"Method not allowed"}"#.into())
        );
        assert_eq!(
            world.post(path, "{"),
            (400, r#"{"error":"Invalid JSON"}"#.into())
        );
        let (status, body) = world.post(path, r#"{"type":1}"#);
        assert!(status == 400 && body.contains("expected"), "{body}");
    }
    assert_eq!(
        world.request(AppRequest::new("GET", "/api/workspaces/1/users")),
        unauthorized
    );
    for path in [
        "/api",
        "/api/",
        "/api/workspaces",
        "/api/workspaces//notify",
        "/api/workspaces/%0a/notify",
        "/api/workspaces/1/x",
        "/api/users/1",
    ] {
        assert_eq!(
            world.post(path, "{}"),
            (404, r#"{"error":"Not found"}"#.into()),
            "{path}"
        );
    }
    let (status, body) = world.request(AppRequest::new("GET", "/api/health"));
    assert!(
        status == 200 && body.starts_with(r#"{"status":"ok","timestamp":""#),
        "{body}"
    );
    assert_eq!(
        latido_http::HttpApp::error_response(
            &world.routes,
            413,
            "too_large",
            "the body is too large"
        )
        .status,
        413
    );
}

#[test]
fn ids_in_paths_are_percent_decoded() {
    let mut world = WorkspaceWorld::new();
    let client = world.connect("").unwrap();
    world.auth(
        client,
        &json!("a b/ñ"),
        &json!("7"),
        Some(member_token("7", &["a b/ñ"])),
    );
    world.post(
        "/api/workspaces/a%20b%2F%C3%B1/broadcast",
        r#"{"message":1}"#,
    );
    assert_eq!(
        world.take_received(client),
        [SUCCESS, r#"{"type":"broadcast","message":1}"#]
    );
}

#[test]
fn presence_lists_users_not_sockets() {
    let mut world = WorkspaceWorld::new();
    let clients = [0; 3].map(|_| world.connect("").unwrap());
    for client in clients {
        world.auth(
            client,
            &json!(1),
            &json!(7),
            Some(member_token("7", &["1"])),
        );
    }
    for client in clients {
        assert_eq!(world.users("1"), r#"{"users":[7]}"#);
        world.disconnect(client);
    }
    assert_eq!(world.users("1"), r#"{"users":[]}"#);
    assert_eq!(
        world.shared.event_bus.totals(),
        latido_event_bus::BusTotals::default()
    );
}

#[test]
fn refusals_have_the_headers_of_the_contract() {
    let world = WorkspaceWorld::new();
    let refused = |method, path| {
        let request = AppRequest::new(method, path);
        let response = world.routes.authorize(&request).map(drop).unwrap_err();
        let headers = response.headers.into_iter();
        let text: Vec<_> = headers
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        (response.status, text.join("\n"))
    };
    let json = "content-type: application/json\ncache-control: no-store";
    assert_eq!(
        refused("GET", "/api/users/7/message"),
        (405, format!("{json}\nallow: POST"))
    );
    for path in ["/api/health", "/api/workspaces/7/users"] {
        assert_eq!(
            refused("POST", path),
            (405, format!("{json}\nallow: GET, HEAD"))
        );
    }
    assert_eq!(
        refused("POST", "/api/users/7/message"),
        (401, json.to_owned())
    );
    assert_eq!(refused("POST", "/api/users"), (404, json.to_owned()));
}

#[test]
fn shared_listener_keeps_the_paths_of_the_app_only() {
    let world = WorkspaceWorld::new();
    let shared = crate::routes::router(std::sync::Arc::clone(&world.shared), false);
    for (path, on_shared) in [
        ("/api/health", true),
        ("/api/workspaces", true),
        ("/api/users/x/y", true),
        ("/api/healthy", false),
        ("/api/other", false),
        ("/api", false),
        ("/apis", false),
        ("/ws", false),
    ] {
        assert_eq!(shared.matches(path), on_shared, "{path}");
        let is_dedicated = on_shared || path.starts_with("/api/") || path == "/api";
        assert_eq!(world.routes.matches(path), is_dedicated, "{path}");
    }
    assert_eq!(shared.body_limit(), 1024 * 1024);
}

#[test]
fn every_route_of_publishers_is_described() {
    let openapi = serde_json::from_str(crate::OPENAPI).unwrap();
    let undocumented = WorkspaceWorld::new().routes.undocumented_routes(&openapi);
    assert_eq!(undocumented, [""; 0]);
}
