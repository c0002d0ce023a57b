use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use serde_json::json;

use super::*;

/// Counts what the router calls.
#[derive(Default)]
struct Calls {
    guards: AtomicUsize,
    handlers: AtomicUsize,
    server_errors: AtomicUsize,
}

/// A client with the right key.
struct Member(String);

fn member(calls: &Calls, request: &AppRequest) -> Result<Member, AppResponse> {
    calls.guards.fetch_add(1, Ordering::Relaxed);
    match request.header("x-user") {
        Some(name) => Ok(Member(name.to_owned())),
        None => Err(ErrorFormat::default().unauthorized("no user")),
    }
}

async fn greet(calls: Arc<Calls>, request: RouteRequest<Member>) -> AppResponse {
    calls.handlers.fetch_add(1, Ordering::Relaxed);
    let (name, room) = (&request.client.0, request.params.get("room"));
    let body = json!([name, room, request.request.body.len()]);
    AppResponse::json(200, body.to_string())
}

async fn health(_: Arc<Calls>, _: RouteRequest<()>) -> AppResponse {
    AppResponse::json(200, "{}")
}

fn router() -> (Arc<Calls>, Router<Calls>) {
    let calls = Arc::new(Calls::default());
    let router = Router::new(Arc::clone(&calls), ErrorFormat::default())
        .get("/api/health", public, health)
        .post("/api/rooms/{room}", member, greet)
        .get("/api/rooms/{room}", member, greet)
        .folder("/api/rooms")
        .max_body_bytes(10)
        .on_server_error(|calls| {
            calls.server_errors.fetch_add(1, Ordering::Relaxed);
        });
    (calls, router)
}

fn send(router: &Router<Calls>, mut request: AppRequest) -> AppResponse {
    // The server authorizes a request before it reads the body.
    let body = std::mem::take(&mut request.body);
    match router.authorize(&request) {
        Ok(handle) => handle(request.with_body(body)).now_or_never().unwrap(),
        Err(response) => response,
    }
}

fn status(router: &Router<Calls>, method: &str, path: &str) -> u16 {
    send(router, AppRequest::new(method, path)).status
}

#[test]
fn handler_receives_the_verified_client_and_the_parameters() {
    let (calls, router) = router();
    let request = AppRequest::new("POST", "/api/rooms/a%20b")
        .with_header("x-user", "ana")
        .with_body("123");
    let response = send(&router, request);
    assert_eq!(response.body.as_ref(), br#"["ana","a b",3]"#);
    let counts = [&calls.guards, &calls.handlers].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts, [1, 1], "the client is authenticated once");
}

#[test]
fn unauthenticated_client_does_not_reach_the_handler() {
    let (calls, router) = router();
    assert_eq!(status(&router, "POST", "/api/rooms/a"), 401);
    assert_eq!(calls.handlers.load(Ordering::Relaxed), 0);
    assert_eq!(status(&router, "GET", "/api/health"), 200);
    assert_eq!(status(&router, "HEAD", "/api/health"), 200);
}

#[test]
fn wrong_method_names_the_allowed_ones() {
    let (calls, router) = router();
    let allow = |method, path| {
        let response = send(&router, AppRequest::new(method, path));
        assert_eq!(response.status, 405);
        let mut headers = response.headers.into_iter();
        headers.find(|(name, _)| *name == "allow").unwrap().1
    };
    assert_eq!(allow("POST", "/api/health"), "GET, HEAD");
    assert_eq!(allow("DELETE", "/api/rooms/a"), "POST, GET, HEAD");
    assert_eq!(allow("get", "/api/health"), "GET, HEAD");
    assert_eq!(calls.guards.load(Ordering::Relaxed), 0);
}

#[test]
fn only_routes_and_folders_belong_to_the_app() {
    let (_, router) = router();
    for path in [
        "/api/health",
        "/api/rooms",
        "/api/rooms/",
        "/api/rooms/a",
        "/api/rooms/a/b",
    ] {
        assert!(router.matches(path), "{path}");
    }
    for path in ["/", "/api", "/api/health/", "/api/roomsa", "/api/%68ealth"] {
        assert!(!router.matches(path), "{path}");
    }
    for path in ["/api/rooms", "/api/rooms/a/b", "/api/rooms/%ff"] {
        assert_eq!(status(&router, "POST", path), 404, "{path}");
    }
    assert_eq!(router.body_limit(), 10);
}

#[test]
fn parameters_are_parsed_by_the_app() {
    let (_, router) = router();
    let router = router.parse_params(|raw| (raw.len() == 1).then(|| raw.to_uppercase()));
    assert_eq!(status(&router, "GET", "/api/rooms/ab"), 404);
    let request = AppRequest::new("GET", "/api/rooms/a").with_header("x-user", "eva");
    assert_eq!(send(&router, request).body.as_ref(), br#"["eva","A",0]"#);
}

#[test]
fn strangers_do_not_learn_which_routes_exist() {
    let (_, router) = router();
    let router = router.guard_unmatched(|calls, request| member(calls, request).map(drop));
    for (method, path) in [("POST", "/api/rooms"), ("POST", "/api/health")] {
        assert_eq!(status(&router, method, path), 401, "{path}");
    }
    let request = AppRequest::new("POST", "/api/health").with_header("x-user", "ana");
    assert_eq!(send(&router, request).status, 405);
}

#[test]
fn errors_of_the_server_have_the_form_of_the_app() {
    let (calls, router) = router();
    let response = router.error_response(413, "too_large", "the body is too large");
    assert_eq!(
        response.body.as_ref(),
        br#"{"error":{"code":"too_large","message":"the body is too large"}}"#
    );
    assert_eq!(calls.server_errors.load(Ordering::Relaxed), 1);
    let router = router.server_errors(ErrorFormat {
        body: |code, _| json!(code),
        ..ErrorFormat::default()
    });
    let response = router.error_response(408, "slow_body", "the body took too long");
    assert_eq!(
        (response.status, response.body.as_ref()),
        (408, &b"\"slow_body\""[..])
    );
    assert_eq!(
        send(&router, AppRequest::new("GET", "/api/rooms")).status,
        404
    );
}

#[test]
fn routes_without_a_description_are_named() {
    let (_, router) = router();
    let of = |openapi| router.undocumented_routes(&openapi).len();
    let rooms = json!({"get": {}, "post": {}});
    assert_eq!(of(json!({})), 3);
    assert_eq!(of(json!({"paths": {"/api/rooms/{id}": rooms}})), 1);
    let health = json!({"x-websocket": {}, "post": {}});
    let paths = json!({"/api/rooms/{id}": rooms, "/api/health": health});
    assert_eq!(of(json!({"paths": paths})), 1, "the method counts");
    let paths = json!({"/api/rooms/{id}": rooms, "/api/health": {"get": {}}});
    assert_eq!(of(json!({"paths": paths})), 0);
}
