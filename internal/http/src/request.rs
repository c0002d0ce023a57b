//! The parts of a request that handlers need, independent of the route.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;

use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use warp::http::{HeaderMap, Method};

use crate::error::ApiError;
use crate::server::Peer;
use latido_net::query;
use latido_protocol::websocket::handshake::bearer_token;

/// A request without its body. It holds the token and therefore has no `Debug`.
pub(super) struct RequestHead {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: String,
    pub(super) peer: Option<Peer>,
    /// The remote address of the connection.
    pub(super) remote_addr: Option<SocketAddr>,
}

/// Extracts the [`RequestHead`] of any request.
pub(super) fn request_head() -> impl Filter<Extract = (RequestHead,), Error = Infallible> + Clone {
    // The raw query: warp's typed filter logs queries that it can't read, and a token may be in
    // one.
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional())
        .map(|method, headers, query, peer: Option<Peer>| {
            let address = peer.as_ref().map(Peer::address);
            RequestHead {
                method,
                headers,
                query,
                peer,
                remote_addr: address,
            }
        })
}

impl RequestHead {
    /// Creates a GET request with headers and query, but without a connection.
    pub(super) fn new_get(headers: HeaderMap, query: &str) -> Self {
        Self {
            method: Method::GET,
            headers,
            query: query.to_owned(),
            peer: None,
            remote_addr: None,
        }
    }

    /// Rejects every method but GET and HEAD.
    pub(super) fn require_read(&self) -> Result<(), ApiError> {
        if matches!(self.method, Method::GET | Method::HEAD) {
            Ok(())
        } else {
            Err(ApiError::method_not_allowed("GET, HEAD"))
        }
    }

    /// Rejects every method but GET, for responses that stay open.
    pub(super) fn require_get(&self) -> Result<(), ApiError> {
        if self.method == Method::GET {
            Ok(())
        } else {
            Err(ApiError::method_not_allowed("GET"))
        }
    }

    /// Rejects every method but POST.
    pub(super) fn require_post(&self) -> Result<(), ApiError> {
        if self.method == Method::POST {
            Ok(())
        } else {
            Err(ApiError::method_not_allowed("POST"))
        }
    }

    /// Rejects every method but DELETE.
    pub(super) fn require_delete(&self) -> Result<(), ApiError> {
        if self.method == Method::DELETE {
            Ok(())
        } else {
            Err(ApiError::method_not_allowed("DELETE"))
        }
    }

    /// Returns the first non-empty value of a query parameter.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        query::value(&self.query, name)
    }

    /// Returns the connection's remote address as text, for logs.
    pub(super) fn remote_addr_text(&self) -> Option<String> {
        self.remote_addr.map(|address| address.to_string())
    }

    /// Returns a header with its lines joined by commas. It is empty if the header is missing; a
    /// line that is not text counts as empty.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Cow<'_, str> {
        joined_header(&self.headers, name)
    }

    /// Returns the token: from `Authorization`, else the subprotocol, else the query.
    pub(super) fn token(&self) -> Option<String> {
        token(&self.headers, &self.query)
    }

    /// Returns the `Bearer` token of `Authorization`.
    pub(super) fn bearer(&self) -> Option<&str> {
        bearer(&self.headers)
    }
}

/// Returns a header with its lines joined by commas. It is empty if the header is missing; a line
/// that is not text counts as empty.
pub(super) fn joined_header(headers: &HeaderMap, name: impl Into<HeaderName>) -> Cow<'_, str> {
    let mut lines = headers
        .get_all(name.into())
        .iter()
        .map(|line| line.to_str().unwrap_or_default());
    let first = Cow::Borrowed(lines.next().unwrap_or_default());
    lines.fold(first, |joined, line| {
        Cow::Owned(format!("{joined}, {line}"))
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, rest) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| rest.trim())
        .filter(|token| !token.is_empty())
}

/// Returns the token of a request; see [`RequestHead::token`].
pub(super) fn token(headers: &HeaderMap, query: &str) -> Option<String> {
    let in_header = bearer(headers).map(str::to_owned);
    let in_protocol =
        || bearer_token(&joined_header(headers, SEC_WEBSOCKET_PROTOCOL)).map(str::to_owned);
    in_header
        .or_else(in_protocol)
        .or_else(|| query::value(query, "token"))
}

/// Decodes a path segment. Returns `None` if it is not UTF-8.
pub(super) fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn request(headers: &[(HeaderName, &'static str)], query: &str) -> RequestHead {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        RequestHead {
            method: Method::GET,
            headers: headers.collect(),
            query: query.into(),
            peer: None,
            remote_addr: None,
        }
    }

    #[test]
    fn token_is_found_in_three_places() {
        let header = (AUTHORIZATION, "bearer  aaa ");
        let protocol = (SEC_WEBSOCKET_PROTOCOL, "bearer, bbb");
        assert_eq!(
            request(&[header.clone(), protocol.clone()], "token=ccc")
                .token()
                .as_deref(),
            Some("aaa")
        );
        assert_eq!(
            request(&[protocol], "token=ccc").token().as_deref(),
            Some("bbb")
        );
        assert_eq!(
            request(&[], "x=1&token=c%2Ec.c&token=d").token().as_deref(),
            Some("c.c.c")
        );
        assert_eq!(
            request(&[(AUTHORIZATION, "Basic aaa")], "token=ccc")
                .token()
                .as_deref(),
            Some("ccc")
        );
        for nothing in ["", "token", "token=", "tokens=a", "token=%ff"] {
            assert_eq!(
                request(&[(AUTHORIZATION, "Bearer ")], nothing).token(),
                None,
                "{nothing}"
            );
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
}
