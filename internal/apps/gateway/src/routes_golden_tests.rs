//! Golden tests of the responses, byte for byte.

use super::*;

/// Formats a response as its status, headers and body, one a line.
fn text(response: AppResponse) -> String {
    let headers = response.headers.iter();
    let headers: String = headers
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    let body = String::from_utf8(response.body.to_vec()).unwrap();
    format!("{}\n{headers}{body}", response.status)
}

async fn answer(gateway: &Arc<GatewayShared>, method: &str, path: &str, body: &str) -> String {
    let request = AppRequest::new(method, path)
        .with_header("x-api-key", KEY)
        .with_body(body.to_owned());
    text(respond(gateway, request).await)
}

/// Returns a JSON response with the server's usual headers.
fn json_response(status: u16, body: &str) -> String {
    format!("{status}\ncontent-type: application/json\ncache-control: no-store\n{body}")
}

fn with_header(status: u16, header: &str, body: &str) -> String {
    format!("{status}\ncontent-type: application/json\ncache-control: no-store\n{header}\n{body}")
}

#[tokio::test]
async fn successful_publishes() {
    let gateway = gateway(with_key());
    for (name, body, message) in [
        ("emit-event", r#"{"type":"a"}"#, "Evento emitido"),
        (
            "notify-role",
            r#"{"role":"admin","event":"a"}"#,
            "Notificación enviada",
        ),
        (
            "notify-user",
            r#"{"user_id":"7","event":"a"}"#,
            "Notificación enviada",
        ),
        ("update-dashboard", "{}", "Dashboard actualizado"),
    ] {
        let body_text = format!(r#"{{"success":true,"message":"{message}"}}"#);
        for (folder, status) in [("/dashboard", 200), ("/api/dashboard", 202)] {
            for slashes in ["", "/", "//"] {
                let path = format!("{folder}/{name}{slashes}");
                assert_eq!(
                    answer(&gateway, "POST", &path, body).await,
                    json_response(status, &body_text),
                    "{path}"
                );
            }
        }
    }
    assert_eq!(
        answer(&gateway, "POST", "/dashboard/cleanup", "{}").await,
        "201\n"
    );
    assert_eq!(
        answer(&gateway, "POST", "/api/dashboard/cleanup", "").await,
        json_response(202, r#"{"success":true,"message":"Limpieza realizada"}"#)
    );
}

#[tokio::test]
async fn invalid_publishes_name_the_expected_field() {
    let gateway = gateway(with_key());
    for (name, body, message) in [
        ("emit-event", "[]", "expected a JSON object"),
        ("emit-event", "{", "expected a JSON object"),
        ("update-dashboard", "1", "expected a JSON object"),
        ("emit-event", "{}", "expected type: an event's name"),
        (
            "notify-role",
            r#"{"role":"x","event":"a"}"#,
            "expected role: cliente, proveedor or admin",
        ),
        (
            "notify-role",
            r#"{"role":"admin"}"#,
            "expected event: an event's name",
        ),
        ("notify-user", r#"{"event":"a"}"#, "expected userId"),
        (
            "notify-user",
            r#"{"userId":7}"#,
            "expected event: an event's name",
        ),
    ] {
        let path = format!("/dashboard/{name}");
        let expected = format!(r#"{{"success":false,"message":"{message}"}}"#);
        assert_eq!(
            answer(&gateway, "POST", &path, body).await,
            json_response(400, &expected),
            "{name} {body}"
        );
    }
}

#[tokio::test]
async fn missing_routes_and_methods() {
    let gateway = gateway(with_key());
    let not_found = r#"{"success":false,"message":"nothing is here"}"#;
    for path in ["/dashboard/x", "/api/dashboard/clients/x", "/dashboard//x"] {
        for method in ["GET", "POST", "DELETE"] {
            assert_eq!(
                answer(&gateway, method, path, "").await,
                json_response(404, not_found),
                "{method} {path}"
            );
        }
    }
    let wrong_method = r#"{"success":false,"message":"this address has another method"}"#;
    for (method, path, allow) in [
        ("POST", "/dashboard.html", "GET, HEAD"),
        ("PUT", "/api/health", "GET, HEAD"),
        ("POST", "/dashboard", "GET, HEAD"),
        ("DELETE", "/api/dashboard/status/", "GET, HEAD"),
        ("GET", "/dashboard/cleanup", "POST"),
        ("HEAD", "/api/dashboard/emit-event", "POST"),
    ] {
        assert_eq!(
            answer(&gateway, method, path, "").await,
            with_header(405, &format!("allow: {allow}"), wrong_method),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn strangers_are_refused_before_their_route_is_looked_up() {
    let gateway = gateway(with_key());
    let refusal = with_header(
        401,
        "www-authenticate: Bearer",
        r#"{"success":false,"message":"expected X-API-Key, or a token of an administrator to read"}"#,
    );
    for (method, path, is_refused) in [
        ("POST", "/dashboard/emit-event", true),
        ("POST", "/dashboard/x", true),
        ("POST", "/dashboard.html", true),
        ("POST", "/api/health", true),
        ("POST", "/api/dashboard/clients", true),
        ("GET", "/api/dashboard/clients", true),
        ("HEAD", "/dashboard", true),
        ("GET", "/dashboard/x", false),
        ("GET", "/dashboard/emit-event", false),
        ("DELETE", "/dashboard/clients", false),
        ("GET", "/dashboard.html", false),
        ("HEAD", "/api/health", false),
    ] {
        let response = respond(&gateway, AppRequest::new(method, path)).await;
        assert_eq!(text(response) == refusal, is_refused, "{method} {path}");
    }
}

#[tokio::test]
async fn page_and_errors_of_the_server() {
    let gateway = gateway(with_key());
    let page = answer(&gateway, "GET", "/dashboard.html", "").await;
    let head = "200\ncontent-type: text/html; charset=utf-8\ncontent-security-policy: default-src 'none'; script-src 'unsafe-inline'; \
        style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'\ncache-control: no-cache\n<!";
    assert!(page.starts_with(head), "{}", &page[..300]);
    let router = router(Arc::clone(&gateway));
    assert_eq!(router.body_limit(), 256 * 1024);
    let response = router.error_response(413, "too_large", "the body is too large");
    assert_eq!(
        text(response),
        json_response(
            413,
            r#"{"success":false,"message":"the body is too large"}"#
        )
    );
    for (path, expected) in [
        ("/dashboard.html", true),
        ("/api/health", true),
        ("/dashboard", true),
        ("/dashboard/", true),
        ("/dashboard/a/b", true),
        ("/api/dashboard", true),
        ("/api/health/", false),
        ("/dashboard.html/", false),
        ("/dashboards", false),
        ("/api/dashboardx", false),
        ("/api", false),
    ] {
        assert_eq!(router.matches(path), expected, "{path}");
    }
}
