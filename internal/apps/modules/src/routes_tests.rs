//! Golden tests of the responses, byte for byte.

use std::future;

use crate::database::{DeviceCredentials, ModuleStateRow, SessionRow, StoredModule};
use latido_auth::{ApiKey, Verifier, VerifierConfig};
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_http::HttpApp as _;

use super::*;
use crate::config::Config;
use crate::store::{ModuleStore, StoreFuture};

const KEY: &str = "a key of the tests";

/// A store that can't be reached.
struct UnavailableStore;

fn unavailable<T: Send + 'static>() -> StoreFuture<'static, T> {
    Box::pin(future::ready(Err(DatabaseError::Unavailable {
        reason: "no database in this test".to_owned(),
    })))
}

impl ModuleStore for UnavailableStore {
    fn read_page<'a>(&'a self, _: Option<&'a str>, _: usize) -> StoreFuture<'a, Vec<StoredModule>> {
        unavailable()
    }

    fn read_modules<'a>(&'a self, _: &'a [String]) -> StoreFuture<'a, Vec<StoredModule>> {
        unavailable()
    }

    fn credentials<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<DeviceCredentials>> {
        unavailable()
    }

    fn session<'a>(&'a self, _: &'a str) -> StoreFuture<'a, Option<SessionRow>> {
        unavailable()
    }

    fn claim<'a>(&'a self, _: &'a str, _: &'a Secret, _: &'a str) -> StoreFuture<'a, bool> {
        unavailable()
    }

    fn save_states<'a>(&'a self, _: &'a [ModuleStateRow]) -> StoreFuture<'a, ()> {
        unavailable()
    }

    fn mark_all_offline(&self) -> StoreFuture<'_, ()> {
        unavailable()
    }
}

fn routes() -> Router<ModulesApp> {
    let keys = VerifierConfig {
        secrets: vec![Secret::new("a secret of more than thirty-two bytes")],
        ..VerifierConfig::default()
    };
    let clock = Clock::system();
    let verifier = Arc::new(Verifier::new(&keys, clock.clone()).unwrap());
    let config = Config {
        api_key: Some(ApiKey::parse(&Secret::new(KEY)).unwrap()),
        ..Config::default()
    };
    let store = Arc::new(UnavailableStore);
    let app = ModulesApp::build(config, store, verifier, clock, Drain::new()).unwrap();
    router(Arc::new(app))
}

/// Formats a response as its status, headers and body, one a line.
fn text(response: &AppResponse) -> String {
    let headers = response.headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    let body = std::str::from_utf8(&response.body).unwrap();
    format!("{}\n{headers}{body}", response.status)
}

fn json_text(status: u16, body: &str) -> String {
    format!("{status}\ncontent-type: application/json\ncache-control: no-store\n{body}")
}

async fn respond(router: &Router<ModulesApp>, request: AppRequest) -> String {
    assert!(router.matches(request.path()));
    text(&match router.authorize(&request) {
        Ok(handle) => handle(request).await,
        Err(response) => response,
    })
}

async fn emit_with_key(router: &Router<ModulesApp>, method: &str, body: &str) -> String {
    let request = AppRequest::new("POST", &format!("/api/modules/emit/{method}"));
    let request = request.with_header("x-api-key", KEY);
    respond(router, request.with_body(body.to_owned())).await
}

#[tokio::test]
async fn emit_calls() {
    let router = routes();
    for (method, body, status, message) in [
        ("emitGlobalStats", "", 200, r#"{"success":true}"#),
        (
            "emitPerformance",
            r#"{"performance":1}"#,
            200,
            r#"{"success":true}"#,
        ),
        (
            "emitModuleOnline",
            r#""M1""#,
            404,
            r#"{"success":false,"error":"No such module"}"#,
        ),
        (
            "emitModuleAdded",
            r#""M1""#,
            503,
            r#"{"success":false,"error":"The table of modules can't be read now"}"#,
        ),
        (
            "emitPerformance",
            "",
            400,
            r#"{"success":false,"error":"performance is required, or is not what it should be"}"#,
        ),
        (
            "emitPerformance",
            "{",
            400,
            r#"{"success":false,"error":"The body must be JSON"}"#,
        ),
        (
            "emitEverything",
            "",
            404,
            r#"{"success":false,"error":"No such method"}"#,
        ),
        (
            "emit%50erformance",
            "1",
            404,
            r#"{"success":false,"error":"No such method"}"#,
        ),
        ("", "", 404, r#"{"success":false,"error":"No such method"}"#),
    ] {
        assert_eq!(
            emit_with_key(&router, method, body).await,
            json_text(status, message),
            "{method} {body}"
        );
    }
}

#[tokio::test]
async fn requests_without_credentials_are_refused() {
    let router = routes();
    let no_key = json_text(
        401,
        r#"{"success":false,"error":"A valid X-API-Key is required"}"#,
    );
    for (name, value) in [
        ("x-api-key", "a key of the test"),
        ("authorization", "Bearer a key of the tests"),
        ("x-nothing", ""),
    ] {
        let request = AppRequest::new("POST", "/api/modules/emit/emitEverything");
        let response = respond(&router, request.with_header(name, value)).await;
        assert_eq!(response, no_key, "{name}");
    }
    for path in ["/dashboard/stats", "/api/modules/stats?token=a.b.c"] {
        let response = respond(&router, AppRequest::new("GET", path)).await;
        let expected = json_text(401, r#"{"success":false,"error":"Not authenticated"}"#);
        assert_eq!(response, expected, "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_name_the_allowed_ones() {
    let router = routes();
    for (method, path, allow) in [
        ("POST", "/api/modules/stats", "GET, HEAD"),
        ("DELETE", "/socket.io/socket.io.js", "GET, HEAD"),
        ("GET", "/api/modules/emit/emitGlobalStats", "POST"),
    ] {
        let response = respond(&router, AppRequest::new(method, path)).await;
        let body = r#"{"success":false,"error":"Method not allowed"}"#;
        let expected = format!("allow: {allow}\n{body}");
        assert_eq!(response, json_text(405, &expected), "{method} {path}");
    }
}

#[tokio::test]
async fn script_is_served_with_its_licence() {
    let request = AppRequest::new("GET", "/socket.io/socket.io.js");
    let script = respond(&routes(), request).await;
    let head = "200\ncontent-type: application/javascript; charset=utf-8\ncache-control: public, max-age=0\netag: \"4.8.4\"\n/*!\n * Socket.IO v4.8.4\n";
    assert!(script.starts_with(head), "{}", &script[..200]);
    assert!(script.contains("MIT License"));
}

#[test]
fn only_known_paths_are_routes() {
    let router = routes();
    for (path, expected) in [
        ("/socket.io/socket.io.js", true),
        ("/socket.io/socket.io.esm.min.js", true),
        ("/socket.io/socket.io.min.js.map", false),
        ("/dashboard/stats", true),
        ("/api/modules/stats", true),
        ("/api/modules/emit/emitModuleOnline", true),
        ("/api/modules/emit/", true),
        ("/socket.io/", false),
        ("/dashboard", false),
        ("/dashboard/stats/x", false),
        ("/dashboard/stats/", false),
        ("/api/modules/emit/a/b", false),
        ("/api/modules/emit", false),
    ] {
        assert_eq!(router.matches(path), expected, "{path}");
    }
    assert_eq!(router.body_limit(), 64 * 1024);
    let response = router.error_response(413, "too_large", "the body is too large");
    assert_eq!(
        text(&response),
        json_text(
            413,
            r#"{"error":{"code":"too_large","message":"the body is too large"}}"#
        )
    );
}

#[test]
fn every_route_and_method_is_described() {
    let openapi: serde_json::Value = serde_json::from_str(crate::OPENAPI).unwrap();
    assert_eq!(routes().undocumented_routes(&openapi), [""; 0]);
    let emit = EMIT_PATH.replace("{method}", "");
    let described = openapi["paths"].as_object().unwrap().keys();
    let mut described: Vec<_> = described
        .filter_map(|path| path.strip_prefix(&emit))
        .collect();
    let methods = emit_api::METHODS.iter().flat_map(|method| method.names);
    let mut methods: Vec<_> = methods.copied().collect();
    described.sort_unstable();
    methods.sort_unstable();
    assert_eq!(described, methods);
}
