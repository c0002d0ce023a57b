//! What an app adds to a listener: addresses ([`Site`]) and WebSockets ([`Pier`]), in words of our own, so that no app names warp.
//!
//! What every address has is done here: the origin's rules, the largest body, the deadlines.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tracing::warn;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::http::body::{self, BodyError};
use crate::http::call::{Call, query_value};
use crate::http::refusal::json_error;
use crate::http::{Doors, Proxies, Response};
use crate::socketio::Gate;

pub use crate::shard::Boarding;
use crate::shard::Interpreter;

/// Where our own WebSockets are opened.
pub(super) const WEBSOCKETS: &str = "/ws";
/// How long an app may take to answer a request that is complete.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of an app.
pub trait Site: Send + Sync {
    /// Whether it answers this path, with whatever method: a wrong one is a 405 with `Allow`. The path is as it came, not decoded.
    fn has(&self, path: &str) -> bool;

    /// The largest body it takes, in bytes.
    fn body_limit(&self) -> usize;

    /// Looks at a request before its body is read; the body is empty here.
    ///
    /// # Errors
    /// The answer, instead of the one to the request.
    fn admit(&self, _asked: &Asked) -> Result<(), Answer> {
        Ok(())
    }

    /// Answers. Dropped after ten seconds, or when the client has gone.
    fn answer(&self, asked: Asked) -> BoxFuture<'static, Answer>;

    /// The shape of what is refused on its behalf: 400 (the body broke off), 408, 413, 503.
    fn refuse(&self, status: u16, code: &'static str, message: &'static str) -> Answer {
        Answer::json(status, json_error(code, message))
    }
}

/// The WebSocket addresses of an app.
pub trait Pier: Send + Sync {
    /// Whether it answers this path. Of `/ws` it gets the requests without a token, and those whose token it [wants](Pier::wants).
    fn has(&self, path: &str) -> bool;

    /// Whether a token, which nobody has verified yet, looks like one of the app's: only then does a `/ws` with a token come here.
    fn wants(&self, _token: &str) -> bool {
        false
    }

    /// Who makes guests of native clients of `/ws`, if the app's dialect may come up there.
    fn interpreter(&self) -> Option<Arc<dyn Interpreter>> {
        None
    }

    /// Judges a request; it may wait a few seconds. Origin and handshake were looked at.
    ///
    /// # Errors
    /// The answer, instead of the 101.
    fn board(&self, asked: Asked) -> BoxFuture<'static, Result<Boarding, Answer>>;
}

/// The apps of one listener.
#[derive(Clone, Default)]
pub struct Annex {
    /// Their names.
    pub apps: Vec<&'static str>,
    /// Tried in this order.
    pub sites: Vec<Arc<dyn Site>>,
    /// The same.
    pub piers: Vec<Arc<dyn Pier>>,
    /// Socket.IO, for all of them.
    pub gate: Option<Arc<dyn Gate>>,
    /// Whether the listener is theirs: then their addresses are tried before the server's own.
    pub is_theirs: bool,
}

impl Annex {
    /// The site that has a path.
    pub(super) fn site(&self, path: &str) -> Option<Arc<dyn Site>> {
        self.sites.iter().find(|site| site.has(path)).cloned()
    }

    /// What is added to our own WebSockets.
    pub(super) fn quay(&self) -> Option<Quay> {
        let pier = self.pier(WEBSOCKETS)?;
        let interpreter = pier.interpreter();
        Some(Quay { pier, interpreter })
    }

    /// The pier that has a path.
    pub(super) fn pier(&self, path: &str) -> Option<Arc<dyn Pier>> {
        self.piers.iter().find(|pier| pier.has(path)).cloned()
    }
}

impl fmt::Debug for Annex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Annex")
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

/// What an app adds to `/ws`.
#[derive(Clone)]
pub(super) struct Quay {
    pub(super) pier: Arc<dyn Pier>,
    pub(super) interpreter: Option<Arc<dyn Interpreter>>,
}

/// A request. Not to be printed: it may hold a token.
pub struct Asked {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
    /// Who is at the other end of the connection: the client, as far as trusted proxies say who that is, else whoever connected.
    pub peer: Option<SocketAddr>,
}

impl Asked {
    /// A request without headers and body. For tests; others come from a connection.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            method: Method::from_str(method).unwrap_or_default(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            peer: None,
        }
    }

    pub(super) fn of(call: &Call, path: &str, proxies: &Proxies) -> Self {
        let (method, query) = (call.method.clone(), call.query.clone());
        let peer = call
            .peer
            .as_ref()
            .map(|peer| proxies.caller(peer.address(), &call.headers));
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: call.headers.clone(),
            body: Bytes::new(),
            peer,
        }
    }

    /// With another header. What is no header's name or value is left out.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            self.headers.append(name, value);
        }
        self
    }

    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// `GET`, `POST` …
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// As it came: its segments may be percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As it came, without the question mark.
    pub fn raw_query(&self) -> &str {
        &self.query
    }

    /// The first value of a name in the query that is not empty, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        query_value(&self.query, name)
    }

    /// The first line of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first line of a header as it came.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    /// The token: from `Authorization: Bearer`, else the subprotocol `bearer`, else `?token=`.
    pub fn token(&self) -> Option<String> {
        crate::http::call::token(&self.headers, &self.query)
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// What is said.
    pub body: Bytes,
}

impl Answer {
    /// JSON that nobody keeps.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with(CONTENT_TYPE.as_str(), "application/json")
        .with(CACHE_CONTROL.as_str(), "no-store")
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(self.body.into());
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .append(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// Serves a request to a site.
pub(super) async fn serve<B: Buf, E>(
    doors: Arc<Doors>,
    site: Arc<dyn Site>,
    path: String,
    call: Call,
    body: impl Stream<Item = Result<B, E>>,
) -> Response {
    let mut asked = Asked::of(&call, &path, &doors.config.proxies);
    if let Err(answer) = site.admit(&asked) {
        return answer.into_response();
    }
    let closing = |answer: Answer| answer.with("connection", "close").into_response();
    asked.body = match timeout(
        doors.config.hook_timeout,
        body::collect(body, site.body_limit()),
    )
    .await
    {
        Ok(Ok(body)) => body.into(),
        Ok(Err(BodyError::TooLarge)) => {
            return closing(site.refuse(413, "too_large", "the body is too large"));
        }
        Ok(Err(BodyError::Broken)) => {
            return closing(site.refuse(400, "bad_request", "the body broke off"));
        }
        Err(_) => return closing(site.refuse(408, "slow_body", "the body took too long")),
    };
    let answer = timeout(ANSWER_TIMEOUT, site.answer(asked))
        .await
        .unwrap_or_else(|_| {
            warn!(path, "an app took too long to answer a request");
            site.refuse(503, "unavailable", "no answer in time; ask again later")
        });
    answer.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_in_our_own_words() {
        let asked = Asked::new("POST", "/a%20b?token=x&y=%41")
            .with_header("X-API-Key", "k")
            .with_header("bad name", "v");
        assert_eq!(
            (asked.method(), asked.path(), asked.query("y").as_deref()),
            ("POST", "/a%20b", Some("A"))
        );
        assert_eq!(
            (asked.header("x-api-key"), asked.token().as_deref()),
            (Some("k"), Some("x"))
        );
        assert!(!format!("{asked:?}").contains("token"));
    }

    #[test]
    fn an_answer_is_a_response() {
        let response = Answer::json(202, "{}")
            .with("retry-after", "1")
            .into_response();
        assert_eq!(
            (response.status().as_u16(), response.headers().len()),
            (202, 3)
        );
        assert_eq!(Answer::json(1, "").into_response().status().as_u16(), 500);
    }
}
