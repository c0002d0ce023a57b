//! The check of requests that need no token because they come from this machine.
//!
//! The peer must be a loopback address. The `Host` must be a name of this machine; a foreign name
//! that resolves to it is a rebinding attack. And no page of another origin may send the request.
//! The last rule is checked here and not left to CORS, which by default lets any page read. A
//! request that a proxy forwarded is refused: its peer is this machine, whoever sent it.

use std::net::SocketAddr;

use warp::http::header::{HOST, HeaderName, ORIGIN};
use warp::http::{HeaderMap, StatusCode};

use crate::error::ApiError;
use latido_admission::RequestHead;
use latido_net::{Host, is_loopback, is_same_origin};

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

/// Checks that the request comes from this machine, as far as a server can know; see the
/// module. `refusal` is the message for other machines.
///
/// # Errors
/// Returns a 403 for every other request.
pub(super) fn require_local(head: &RequestHead, refusal: &'static str) -> Result<(), ApiError> {
    check_sender(head.remote_addr, &head.headers, refusal)
}

fn check_sender(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    refusal: &'static str,
) -> Result<(), ApiError> {
    let is_forwarded = PROXY_HEADERS.iter().any(|name| headers.contains_key(*name));
    let local = peer.is_some_and(|peer| is_loopback(peer.ip())) && !is_forwarded;
    // Two `Host` lines would be ambiguous, so both are rejected.
    let host = single_header(headers, &HOST).filter(|host| is_local_host(host));
    let Some(host) = host.filter(|_| local) else {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "local_only", refusal));
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
        check_sender(peer.parse().ok(), &map, "").is_ok()
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
}
