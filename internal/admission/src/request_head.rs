//! The parts of a request that handlers need, independent of the route.

use std::borrow::Cow;
use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, Method};

use crate::headers::joined_header;
use latido_net::query;
use latido_protocol::websocket::handshake;

/// A request without its body. It holds the token and therefore has no `Debug`.
#[expect(missing_debug_implementations, reason = "it holds a token")]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The headers.
    pub headers: HeaderMap,
    /// The query as received, without the question mark.
    pub query: String,
    /// The remote address of the connection.
    pub remote_addr: Option<SocketAddr>,
}

/// The error for a method that an address does not answer. It holds the methods that it does, as
/// the header `Allow` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct MethodNotAllowed(pub &'static str);

impl RequestHead {
    /// Creates a GET request with headers and query, but without a connection.
    pub fn new_get(headers: HeaderMap, query: &str) -> Self {
        Self {
            method: Method::GET,
            headers,
            query: query.to_owned(),
            remote_addr: None,
        }
    }

    /// Rejects every method but GET and HEAD.
    ///
    /// # Errors
    /// The method is another one.
    pub fn require_read(&self) -> Result<(), MethodNotAllowed> {
        let is_allowed = matches!(self.method, Method::GET | Method::HEAD);
        require(is_allowed, "GET, HEAD")
    }

    /// Rejects every method but GET, for responses that stay open.
    ///
    /// # Errors
    /// The method is another one.
    pub fn require_get(&self) -> Result<(), MethodNotAllowed> {
        require(self.method == Method::GET, "GET")
    }

    /// Rejects every method but POST.
    ///
    /// # Errors
    /// The method is another one.
    pub fn require_post(&self) -> Result<(), MethodNotAllowed> {
        require(self.method == Method::POST, "POST")
    }

    /// Rejects every method but DELETE.
    ///
    /// # Errors
    /// The method is another one.
    pub fn require_delete(&self) -> Result<(), MethodNotAllowed> {
        require(self.method == Method::DELETE, "DELETE")
    }

    /// Returns the first non-empty value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        query::value(&self.query, name)
    }

    /// Returns the connection's remote address as text, for logs.
    pub fn remote_addr_text(&self) -> Option<String> {
        self.remote_addr.map(|address| address.to_string())
    }

    /// Returns a header with its lines joined by commas. It is empty if the header is missing; a
    /// line that is not text counts as empty.
    pub fn header(&self, name: impl Into<HeaderName>) -> Cow<'_, str> {
        joined_header(&self.headers, name)
    }

    /// Returns the token: from `Authorization`, else the subprotocol, else the query.
    pub fn token(&self) -> Option<String> {
        request_token(&self.headers, &self.query)
    }

    /// Returns the `Bearer` token of `Authorization`.
    pub fn bearer(&self) -> Option<&str> {
        bearer(&self.headers)
    }
}

fn require(is_allowed: bool, allowed: &'static str) -> Result<(), MethodNotAllowed> {
    if is_allowed {
        Ok(())
    } else {
        Err(MethodNotAllowed(allowed))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| rest.trim())
        .filter(|token| !token.is_empty())
}

/// Returns the token of a request; see [`RequestHead::token`].
pub fn request_token(headers: &HeaderMap, query: &str) -> Option<String> {
    let in_header = bearer(headers).map(str::to_owned);
    let in_protocol = || {
        handshake::bearer_token(&joined_header(headers, SEC_WEBSOCKET_PROTOCOL)).map(str::to_owned)
    };
    in_header
        .or_else(in_protocol)
        .or_else(|| query::value(query, "token"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn request(headers: &[(HeaderName, &'static str)], query: &str) -> RequestHead {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        RequestHead::new_get(headers.collect(), query)
    }

    #[test]
    fn token_is_found_in_three_places() {
        let header = (AUTHORIZATION, "bearer  aaa ");
        let protocol = (SEC_WEBSOCKET_PROTOCOL, "bearer, bbb");
        let token = |headers: &[_], query| request(headers, query).token();
        assert_eq!(
            token(&[header.clone(), protocol.clone()], "token=ccc").as_deref(),
            Some("aaa")
        );
        assert_eq!(token(&[protocol], "token=ccc").as_deref(), Some("bbb"));
        assert_eq!(
            token(&[], "x=1&token=c%2Ec.c&token=d").as_deref(),
            Some("c.c.c")
        );
        assert_eq!(
            token(&[(AUTHORIZATION, "Basic aaa")], "token=ccc").as_deref(),
            Some("ccc")
        );
        for nothing in ["", "token", "token=", "tokens=a", "token=%ff"] {
            let headers = [(AUTHORIZATION, "Bearer ")];
            assert_eq!(token(&headers, nothing), None, "{nothing}");
        }
    }

    #[test]
    fn header_lines_are_joined_into_one_list() {
        let mut head = request(&[(SEC_WEBSOCKET_PROTOCOL, "bearer")], "");
        head.headers
            .append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("aaa"));
        assert_eq!(head.header(SEC_WEBSOCKET_PROTOCOL), "bearer, aaa");
        assert_eq!(head.token().as_deref(), Some("aaa"));
    }

    #[test]
    fn other_methods_are_rejected_with_the_allowed_ones() {
        let mut head = request(&[], "");
        assert_eq!((head.require_get(), head.require_read()), (Ok(()), Ok(())));
        assert_eq!(head.require_post(), Err(MethodNotAllowed("POST")));
        head.method = Method::HEAD;
        assert_eq!(head.require_get(), Err(MethodNotAllowed("GET")));
        assert_eq!(
            (head.require_read(), head.require_delete()),
            (Ok(()), Err(MethodNotAllowed("DELETE")))
        );
    }
}
