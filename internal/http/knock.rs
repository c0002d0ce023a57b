//! The short way to a WebSocket: a request that lies whole in the first bytes, for which nothing has to be waited.
//!
//! It only ever grants: whatever is refused, unusual, incomplete or not for `/ws` goes the long way, through hyper and the routes, where all
//! answers are made. So there is one set of rules, in [`websocket`], and this is about cost alone.

use std::net::SocketAddr;
use std::sync::Arc;

use warp::http::header::{CONTENT_LENGTH, EXPECT, HeaderName, TRANSFER_ENCODING};
use warp::http::uri::PathAndQuery;
use warp::http::{HeaderMap, HeaderValue};

use crate::http::call::Call;
use crate::http::site::{Quay, WEBSOCKETS as PATH};
use crate::http::{Doors, Response, websocket};
use crate::shard::Admitted;

/// More than browsers and proxies send; who sends more goes the long way.
const MAX_HEADERS: usize = 48;

/// Grants a WebSocket to whoever asks for one so plainly that it can be done now.
pub(super) fn admit(
    doors: &Doors,
    quay: Option<&Quay>,
    said: &[u8],
    address: SocketAddr,
) -> Option<Admitted> {
    let (mut call, used) = read(said)?;
    call.address = Some(address);
    let (response, principal, permits) = websocket::open_at_once(doors, &call, quay)?;
    let interpreter = quay.and_then(|quay| quay.interpreter.clone());
    Some(Admitted {
        principal: Arc::new(principal),
        permits,
        interpreter,
        answer: write(&response),
        used,
    })
}

/// A GET of our path over HTTP/1.1 without a body, and the length of its head.
fn read(said: &[u8]) -> Option<(Call, usize)> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let Ok(httparse::Status::Complete(used)) = request.parse(said) else {
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
    plain.then(|| (Call::get(headers, target.query().unwrap_or_default()), used))
}

/// The head of an answer without a body.
fn write(response: &Response) -> Vec<u8> {
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
    fn a_plain_request_is_read_up_to_its_end() {
        let (call, used) = read(format!("{HEAD}more").as_bytes()).unwrap();
        assert_eq!((used, call.token().as_deref()), (HEAD.len(), Some("a b")));
        assert_eq!(call.header(HeaderName::from_static("x")), "1, 2");
        assert!(read(b"GET /ws HTTP/1.1\r\n\r\n").is_some());
    }

    #[test]
    fn everything_else_goes_the_long_way() {
        for end in 0..HEAD.len() {
            assert!(read(&HEAD.as_bytes()[..end]).is_none(), "{end}");
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
            assert!(read(HEAD.replacen(a, b, 1).as_bytes()).is_none(), "{b}");
        }
    }
}
