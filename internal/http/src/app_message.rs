//! Requests to apps and their responses, in types of this crate, so that no app names warp.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr as _;

use bytes::Bytes;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::response::Response;
use latido_admission::{PermitSet, RequestHead, TrustedProxies, request_token};
use latido_net::query;

/// A request to an app. Its `Debug` omits headers and query, which may hold a token.
pub struct AppRequest {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    /// The whole body of the request.
    pub body: Bytes,
    /// The address of the client: the one that trusted proxies name, else the connection's remote
    /// address.
    pub client: Option<SocketAddr>,
    /// The permits of the session that the request opens ([`SessionUse::Open`]).
    ///
    /// [`SessionUse::Open`]: crate::SessionUse::Open
    pub permits: Option<PermitSet>,
}

impl AppRequest {
    /// Creates a request without headers and body, for tests; others come from a connection.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            method: Method::from_str(method).unwrap_or_default(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            client: None,
            permits: None,
        }
    }

    pub(super) fn from_head(head: &RequestHead, path: &str, proxies: &TrustedProxies) -> Self {
        let (method, query) = (head.method.clone(), head.query.clone());
        let client = head
            .remote_addr
            .map(|address| proxies.client_addr(address, &head.headers));
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: head.headers.clone(),
            body: Bytes::new(),
            client,
            permits: None,
        }
    }

    /// Adds a header. An invalid name or value is ignored.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            self.headers.append(name, value);
        }
        self
    }

    /// Sets the body of the request.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the method, such as `GET` or `POST`.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Returns the path as received: its segments may be percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the query as received, without the question mark.
    pub fn raw_query(&self) -> &str {
        &self.query
    }

    /// Returns the first non-empty value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        query::value(&self.query, name)
    }

    /// Returns the first line of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the first line of a header as received.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    /// Returns the token: from `Authorization: Bearer`, else the subprotocol `bearer`, else
    /// `?token=`.
    pub fn token(&self) -> Option<String> {
        request_token(&self.headers, &self.query)
    }
}

impl fmt::Debug for AppRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An app's response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body of the response.
    pub body: Bytes,
}

impl AppResponse {
    /// Creates a JSON response that must not be cached (`no-store`).
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with_header(CONTENT_TYPE.as_str(), "application/json")
        .with_header(CACHE_CONTROL.as_str(), "no-store")
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_request_exposes_path_query_and_headers() {
        let request = AppRequest::new("POST", "/a%20b?token=x&y=%41")
            .with_header("X-API-Key", "k")
            .with_header("bad name", "v");
        assert_eq!(
            (
                request.method(),
                request.path(),
                request.query("y").as_deref()
            ),
            ("POST", "/a%20b", Some("A"))
        );
        assert_eq!(
            (request.header("x-api-key"), request.token().as_deref()),
            (Some("k"), Some("x"))
        );
        assert!(!format!("{request:?}").contains("token"));
    }

    #[test]
    fn app_response_becomes_an_http_response() {
        let response = AppResponse::json(202, "{}")
            .with_header("retry-after", "1")
            .into_response();
        assert_eq!(
            (response.status().as_u16(), response.headers().len()),
            (202, 3)
        );
        assert_eq!(
            AppResponse::json(1, "").into_response().status().as_u16(),
            500
        );
    }
}
