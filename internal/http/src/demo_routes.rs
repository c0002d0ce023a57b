//! The addresses that only a demo has: a session without a password, another for its operator, and
//! a button that books.
//!
//! They require no token, so they answer only this machine. The peer must be a loopback address.
//! The `Host` must be a name of this machine; a foreign name that resolves to it is a rebinding
//! attack. And no page of another origin may send the request. The last rule is checked here and
//! not left to CORS, which by default lets any page read. A request that a proxy forwarded is
//! refused: its peer is this machine, whoever sent it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use futures_util::Stream;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use tracing::warn;
use warp::http::header::{CONTENT_TYPE, HOST, HeaderName, ORIGIN};
use warp::http::{HeaderMap, StatusCode};
use warp::{Filter as _, Reply as _, path};

use crate::body;
use crate::error::ApiError;
use crate::request::request_head;
use crate::response::{BoxedRoutes, Response, json_response, uncached};
use latido_admission::RequestHead;
use latido_demo::{BookError, Demo};
use latido_net::{Host, is_loopback, is_same_origin};
use latido_telemetry::Metrics;

/// The largest body of a booking, in bytes.
const BODY_BYTES: usize = 1024;

/// The time the body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(4);

/// The delay after which a failed database operation may be retried.
const RETRY_AFTER: Duration = Duration::from_secs(2);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The headers that proxies, load balancers and tunnels add to the requests that they forward.
const PROXY_HEADERS: [&str; 12] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-original-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
];

/// Builds `GET /demo/session`, `GET /demo/operator` and `POST /demo/citas`, for
/// [`crate::ServerState::extra_routes`].
pub fn demo_routes(demo: Arc<Demo>, metrics: Arc<Metrics>) -> BoxedRoutes {
    let for_session = Arc::clone(&demo);
    let session = path!("demo" / "session")
        .and(request_head())
        .map(move |head| session(&for_session, &head));
    let for_operator = Arc::clone(&demo);
    let operator = path!("demo" / "operator")
        .and(request_head())
        .map(move |head| operator_session(&for_operator, &head));
    let booking = path!("demo" / "citas")
        .and(request_head())
        .and(warp::body::stream());
    let booking = booking.then(move |head, body| book(Arc::clone(&demo), head, body));
    let answer = move |result: Result<_, ApiError>| {
        result.unwrap_or_else(|refusal| refusal.into_response(&metrics))
    };
    session
        .or(operator)
        .unify()
        .or(booking)
        .unify()
        .map(answer)
        .boxed()
}

fn session(demo: &Demo, head: &RequestHead) -> Result<Response, ApiError> {
    head.require_get()?;
    require_local(head.remote_addr, &head.headers)?;
    let session = demo.session().map_err(token_not_issued)?;
    Ok(uncached(json_response(session.to_json())))
}

/// Issues a token for the operators' page. Answers 204 if no role is an admin's.
fn operator_session(demo: &Demo, head: &RequestHead) -> Result<Response, ApiError> {
    head.require_get()?;
    require_local(head.remote_addr, &head.headers)?;
    let Some(session) = demo.operator_session().map_err(token_not_issued)? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    Ok(uncached(json_response(
        json!({"token": session.token()}).to_string(),
    )))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn token_not_issued(error: anyhow::Error) -> ApiError {
    warn!(error = %format!("{error:#}"), "no token could be issued for the demo");
    ApiError::unavailable("unavailable", "no token could be issued", RETRY_AFTER)
}

async fn book<B: Buf, E>(
    demo: Arc<Demo>,
    head: RequestHead,
    body: impl Stream<Item = Result<B, E>>,
) -> Result<Response, ApiError> {
    head.require_post()?;
    require_local(head.remote_addr, &head.headers)?;
    if !is_json(&head.header(CONTENT_TYPE)) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "expected application/json",
        )
        .close_connection());
    }
    let body = timeout(BODY_TIMEOUT, body::collect_body(body, BODY_BYTES))
        .await
        .ok()
        .and_then(Result::ok);
    let negocio_id = body
        .as_deref()
        .and_then(parse_negocio_id)
        .ok_or_else(malformed_body)?;
    match demo.book(&negocio_id).await {
        Ok(()) => {
            let mut response =
                uncached(json_response(json!({"negocio_id": negocio_id}).to_string()));
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Err(BookError::UnknownBusiness) => Err(ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_business",
            "no such business in the demo",
        )),
        Err(BookError::Unavailable(error)) => {
            warn!(error = %format!("{error:#}"), "a cita of the demo could not be booked");
            Err(ApiError::unavailable(
                "unavailable",
                "the cita could not be booked",
                RETRY_AFTER,
            ))
        }
    }
}

fn parse_negocio_id(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct BookingBody {
        negocio_id: String,
    }
    serde_json::from_slice::<BookingBody>(body)
        .ok()
        .map(|booking| booking.negocio_id)
}

fn malformed_body() -> ApiError {
    let message = format!("expected {{\"negocio_id\":\"…\"}} of at most {BODY_BYTES} bytes");
    // Some of the body may still be on its way.
    ApiError::bad_request("bad_request", message).close_connection()
}

/// Checks that the request comes from this machine, as far as a server can know; see the module.
fn require_local(peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<(), ApiError> {
    let is_forwarded = PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
    let local = peer.is_some_and(|peer| is_loopback(peer.ip())) && !is_forwarded;
    // Two `Host` lines would be ambiguous, so both are rejected.
    let host = single_header(headers, &HOST).filter(|host| is_local_host(host));
    let Some(host) = host.filter(|_| local) else {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "local_only",
            "the demo answers to its own machine alone",
        ));
    };
    let is_own = |origin: &str| is_same_origin(origin, host);
    if headers.contains_key(ORIGIN) && !single_header(headers, &ORIGIN).is_some_and(is_own) {
        return Err(ApiError::forbidden_origin());
    }
    let is_cross_site = headers
        .get(SEC_FETCH_SITE)
        .is_some_and(|site| site != "same-origin" && site != "none");
    if is_cross_site {
        Err(ApiError::forbidden_origin())
    } else {
        Ok(())
    }
}

/// Returns a header's value if it occurs exactly once.
fn single_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?.to_str().ok()?;
    lines.next().is_none().then_some(line)
}

/// Accepts `localhost` or a loopback address, with or without a port.
fn is_local_host(host: &str) -> bool {
    Host::parse(host).is_some_and(Host::is_loopback)
}

fn is_json(content_type: &str) -> bool {
    content_type
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_admitted(peer: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        require_local(peer.parse().ok(), &map).is_ok()
    }

    #[test]
    fn requests_from_this_machine_are_accepted() {
        for peer in ["127.0.0.1:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
            assert!(is_admitted(peer, &[("host", "localhost:8080")]), "{peer}");
        }
        let same = [
            ("host", "127.0.0.1:8080"),
            ("origin", "http://127.0.0.1:8080"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert!(is_admitted("127.0.0.1:5", &same));
    }

    #[test]
    fn other_requests_are_rejected() {
        assert!(!is_admitted("", &[("host", "localhost")]), "no peer");
        assert!(
            !is_admitted("192.168.1.7:5", &[("host", "localhost")]),
            "another machine"
        );
        let host = ("host", "localhost:8080");
        let cases: [&[_]; 12] = [
            &[],
            &[("host", "evil.example")],
            &[host, ("host", "evil.example")],
            &[host, ("origin", "null")],
            &[host, ("origin", "http://localhost:9090")],
            &[host, ("origin", "https://evil.example")],
            &[
                host,
                ("origin", "http://localhost:8080"),
                ("origin", "http://evil.example"),
            ],
            &[host, ("sec-fetch-site", "cross-site")],
            &[host, ("x-forwarded-for", "127.0.0.1")],
            &[host, ("forwarded", "")],
            &[host, ("via", "1.1 proxy")],
            &[host, ("x-real-ip", "8.8.8.8")],
        ];
        for headers in cases {
            assert!(!is_admitted("127.0.0.1:5", headers), "{headers:?}");
        }
    }

    #[test]
    fn booking_bodies_are_parsed() {
        assert_eq!(
            parse_negocio_id(br#"{"negocio_id":"7"}"#).as_deref(),
            Some("7")
        );
        for body in ["", "[]", r#"{"negocio_id":7}"#, "{}"] {
            assert_eq!(parse_negocio_id(body.as_bytes()), None, "{body}");
        }
        assert!(
            is_json("application/json; charset=utf-8") && !is_json("text/plain") && !is_json("")
        );
    }
}
