//! The fast path to a WebSocket: a request that is complete in the first bytes and needs no
//! waiting.
//!
//! This path only grants upgrades. A request that is rejected, unusual, incomplete or not for `/ws`
//! goes through hyper and the routes, which make all other responses. So there is one set of rules,
//! in [`websocket`], and this path only saves cost.

use std::net::SocketAddr;
use std::sync::Arc;

use warp::http::header::{CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING};
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderMap, HeaderValue};

use crate::app_http::{WS_PATH as PATH, WsExtension};
use crate::request::RequestHead;
use crate::{Response, ServerState, websocket};
use latido_shard::AcceptedUpgrade;

/// The most header lines, above those of browsers and proxies. Requests with more use the regular
/// path.
const MAX_HEADERS: usize = 48;

/// Upgrades a plain WebSocket request without waiting. Returns `None` if the request needs the
/// regular path.
pub(super) fn try_upgrade(
    state: &ServerState,
    extension: Option<&WsExtension>,
    bytes: &[u8],
    address: SocketAddr,
) -> Option<AcceptedUpgrade> {
    let (mut head, used) = parse_request(bytes)?;
    head.remote_addr = Some(address);
    let (response, principal, permits) = websocket::try_handshake(state, &head, extension)?;
    let in_band_upgrade = extension.and_then(|extension| extension.in_band_upgrade.clone());
    Some(AcceptedUpgrade {
        principal: Arc::new(principal),
        permits,
        in_band_upgrade,
        response: write_head(&response),
        request_bytes: used,
    })
}

/// Parses a GET of `/ws` over HTTP/1.1 without a body. Also returns the length of its head.
fn parse_request(bytes: &[u8]) -> Option<(RequestHead, usize)> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let Ok(httparse::Status::Complete(used)) = request.parse(bytes) else {
        return None;
    };
    if request.method != Some("GET") || request.version != Some(1) {
        return None;
    }
    let target = request.path.filter(|target| target.starts_with(PATH))?;
    let target = PathAndQuery::try_from(target)
        .ok()
        .filter(|target| target.path() == PATH)?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    let plain = ![CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT]
        .iter()
        .any(|name| headers.contains_key(name));
    plain.then(|| {
        (
            RequestHead::new_get(headers, target.query().unwrap_or_default()),
            used,
        )
    })
}

/// Formats the head of a response without a body.
fn write_head(response: &Response) -> Vec<u8> {
    let status = response.status();
    let mut head = Vec::with_capacity(192);
    for part in [
        "HTTP/1.1 ",
        status.as_str(),
        " ",
        status.canonical_reason().unwrap_or_default(),
        "\r\n",
    ] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /ws?token=a%20b HTTP/1.1\r\nHost: x\r\nX: 1\r\nx: 2\r\n\r\n";

    #[test]
    fn plain_request_is_parsed_up_to_its_end() {
        let (head, used) = parse_request(format!("{HEAD}more").as_bytes()).unwrap();
        assert_eq!((used, head.token().as_deref()), (HEAD.len(), Some("a b")));
        assert_eq!(head.header(HeaderName::from_static("x")), "1, 2");
        assert!(parse_request(b"GET /ws HTTP/1.1\r\n\r\n").is_some());
    }

    #[test]
    fn every_other_request_takes_the_regular_path() {
        for end in 0..HEAD.len() {
            assert!(parse_request(&HEAD.as_bytes()[..end]).is_none(), "{end}");
        }
        for (a, b) in [
            ("GET", "POST"),
            ("GET", "HEAD"),
            ("/1.1", "/1.0"),
            ("/ws", "/ws/"),
            ("/ws", "/wsx"),
            ("/ws", "/WS"),
            ("/ws", "//ws"),
            ("/ws", "http://x/ws"),
            ("Host: x", "Content-Length: 0"),
            ("Host: x", "Transfer-Encoding: chunked"),
            ("Host: x", "Expect: 100-continue"),
            ("Host: x", "Host : x"),
            ("Host: x", "Host: \u{1}"),
            ("Host: x", &vec!["A: b"; MAX_HEADERS].join("\r\n")),
        ] {
            assert!(
                parse_request(HEAD.replacen(a, b, 1).as_bytes()).is_none(),
                "{b}"
            );
        }
    }
}
