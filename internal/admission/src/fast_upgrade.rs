//! The fast path to a WebSocket: a request that is complete in the first bytes and needs no
//! waiting.
//!
//! This path only grants upgrades. A request that is rejected, unusual, incomplete or not for `/ws`
//! goes through HTTP and its routes, which make all other responses. So there is one set of rules,
//! [`UpgradeRules`], and this path only saves cost.

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::OwnedSemaphorePermit;

use crate::request_head::RequestHead;
use crate::upgrade_rules::{TokenClaim, UpgradeRules};
use latido_auth::Principal;

/// The path of the server's native WebSockets.
pub const WS_PATH: &str = "/ws";
/// The most header lines, above those of browsers and proxies. Requests with more use the regular
/// path.
const MAX_HEADERS: usize = 48;

/// A completed upgrade that turns a pending connection into a client.
pub struct AcceptedUpgrade {
    /// The principal of the verified token.
    pub principal: Arc<Principal>,
    /// Further permits, in addition to those that the connection already holds.
    pub permits: Vec<OwnedSemaphorePermit>,
    /// The bytes of the handshake response.
    pub response: Vec<u8>,
    /// The number of received bytes that the request used; frames may follow.
    pub request_bytes: usize,
}

impl std::fmt::Debug for AcceptedUpgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptedUpgrade")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl UpgradeRules {
    /// Upgrades a plain WebSocket request without waiting, given all bytes received so far. Returns
    /// `None` if the request needs the regular path: it is no such request, it is rejected, or
    /// `app_tokens` claims its token (or it has none) for an app.
    pub fn try_upgrade(
        &self,
        app_tokens: Option<&TokenClaim>,
        received: &[u8],
        address: SocketAddr,
    ) -> Option<AcceptedUpgrade> {
        let PlainRequest {
            target,
            headers,
            request_bytes,
        } = PlainRequest::parse(received, |path| path == WS_PATH)?;
        let mut head = RequestHead::new_get(headers, target.query().unwrap_or_default());
        head.remote_addr = Some(address);
        self.check_request(&head).ok()?;
        if app_tokens.is_some_and(|claims| head.token().is_none_or(|token| claims(&token))) {
            return None;
        }
        let principal = self.try_authenticate(&head)?;
        let response = self.check_handshake(&head).ok()?;
        let permits = self
            .acquire_user_permits(&head, Some(principal.user()))
            .ok()?;
        Some(AcceptedUpgrade {
            principal: Arc::new(principal),
            permits,
            response: write_head(&response),
            request_bytes,
        })
    }
}

/// A GET over HTTP/1.1 without a body.
#[derive(Debug)]
pub struct PlainRequest {
    /// The path and the query.
    pub target: PathAndQuery,
    /// The headers.
    pub headers: HeaderMap,
    /// The number of received bytes that the request used; frames may follow.
    pub request_bytes: usize,
}

impl PlainRequest {
    /// Parses a request, given all bytes received so far. Returns `None` if the request is no plain
    /// GET of such a path, or is incomplete.
    pub fn parse(received: &[u8], is_path: impl FnOnce(&str) -> bool) -> Option<Self> {
        parse_request(received, is_path)
    }
}

fn parse_request(bytes: &[u8], is_path: impl FnOnce(&str) -> bool) -> Option<PlainRequest> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let Ok(httparse::Status::Complete(used)) = request.parse(bytes) else {
        return None;
    };
    if request.method != Some("GET") || request.version != Some(1) || has_bare_lf(&bytes[..used]) {
        return None;
    }
    let target = request.path.filter(|target| target.starts_with('/'))?;
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    if !is_path(path) {
        return None;
    }
    let target = PathAndQuery::try_from(target)
        .ok()
        .filter(|target| target.path() == path)?;
    let mut headers = HeaderMap::with_capacity(request.headers.len());
    for line in request.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(line.value).ok()?);
    }
    let plain = ![CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT]
        .iter()
        .any(|name| headers.contains_key(name));
    let has_one_host = headers.get_all(HOST).iter().count() == 1;
    (plain && has_one_host).then_some(PlainRequest {
        target,
        headers,
        request_bytes: used,
    })
}

/// Returns whether a line of a head ends without CR. The parser accepts that, the regular path does
/// not.
fn has_bare_lf(head: &[u8]) -> bool {
    let mut last = 0;
    head.iter().any(|&byte| {
        let is_bare = byte == b'\n' && last != b'\r';
        last = byte;
        is_bare
    })
}

/// Formats the head of a response without a body.
pub fn write_head(response: &Response<()>) -> Vec<u8> {
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
        let is_ws = |path: &str| path == WS_PATH;
        let request = parse_request(format!("{HEAD}more").as_bytes(), is_ws).unwrap();
        let head = RequestHead::new_get(request.headers, request.target.query().unwrap());
        assert_eq!(
            (request.request_bytes, head.token().as_deref()),
            (HEAD.len(), Some("a b"))
        );
        assert_eq!(head.header(HeaderName::from_static("x")), "1, 2");
    }

    #[test]
    fn every_other_request_takes_the_regular_path() {
        for end in 0..HEAD.len() {
            assert!(
                parse_request(&HEAD.as_bytes()[..end], |_| true).is_none(),
                "{end}"
            );
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
            ("Host: x", "Hosts: x"),
            ("Host: x", "Host: x\r\nHost: x"),
            ("Host: x\r", "Host: x"),
            ("HTTP/1.1\r", "HTTP/1.1"),
            ("Host: x", "Host: \u{1}"),
            ("Host: x", &vec!["A: b"; MAX_HEADERS].join("\r\n")),
        ] {
            let head = HEAD.replacen(a, b, 1);
            let is_ws = |path: &str| path == WS_PATH;
            assert!(parse_request(head.as_bytes(), is_ws).is_none(), "{b}");
        }
    }
}
