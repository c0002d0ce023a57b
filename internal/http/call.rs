//! What a handler needs of a request, whichever route it came by.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;

use percent_encoding::percent_decode_str;
use warp::Filter;
use warp::http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use warp::http::{HeaderMap, Method};

use crate::http::connection::Peer;
use crate::http::refusal::Refusal;
use crate::websocket::handshake::bearer_token;

/// A request without its body. Not to be printed: it holds the token.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) query: String,
    pub(super) peer: Option<Peer>,
    /// Where the connection comes from.
    pub(super) address: Option<SocketAddr>,
}

/// Extracts the [`Call`] of any request.
pub(super) fn call() -> impl Filter<Extract = (Call,), Error = Infallible> + Clone {
    // The raw query: warp's typed one logs what it can't read, and a token may be in it.
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional())
        .map(|method, headers, query, peer: Option<Peer>| {
            let address = peer.as_ref().map(Peer::address);
            Call {
                method,
                headers,
                query,
                peer,
                address,
            }
        })
}

impl Call {
    /// A GET of whom nothing is known but this.
    pub(super) fn get(headers: HeaderMap, query: &str) -> Self {
        Self {
            method: Method::GET,
            headers,
            query: query.to_owned(),
            peer: None,
            address: None,
        }
    }

    /// Lets only GET and HEAD through.
    pub(super) fn reads(&self) -> Result<(), Refusal> {
        if matches!(self.method, Method::GET | Method::HEAD) {
            Ok(())
        } else {
            Err(Refusal::method("GET, HEAD"))
        }
    }

    /// Lets only GET through, for answers that are a conversation.
    pub(super) fn gets(&self) -> Result<(), Refusal> {
        if self.method == Method::GET {
            Ok(())
        } else {
            Err(Refusal::method("GET"))
        }
    }

    /// Lets only POST through.
    pub(super) fn posts(&self) -> Result<(), Refusal> {
        if self.method == Method::POST {
            Ok(())
        } else {
            Err(Refusal::method("POST"))
        }
    }

    /// Lets only DELETE through.
    pub(super) fn deletes(&self) -> Result<(), Refusal> {
        if self.method == Method::DELETE {
            Ok(())
        } else {
            Err(Refusal::method("DELETE"))
        }
    }

    /// The first value of a name in the query that is not empty.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        query_value(&self.query, name)
    }

    /// Where the connection comes from, for logs.
    pub(super) fn peer_address(&self) -> Option<String> {
        self.address.map(|address| address.to_string())
    }

    /// A header with its lines joined by commas; empty if there is none, or one that is not text.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Cow<'_, str> {
        joined(&self.headers, name)
    }

    /// The token: from `Authorization`, else the subprotocol, else the query.
    pub(super) fn token(&self) -> Option<String> {
        token(&self.headers, &self.query)
    }

    /// What follows `Bearer` in `Authorization`.
    pub(super) fn bearer(&self) -> Option<&str> {
        bearer(&self.headers)
    }
}

/// A header with its lines joined by commas; empty if there is none, or one that is not text.
pub(super) fn joined(headers: &HeaderMap, name: impl Into<HeaderName>) -> Cow<'_, str> {
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

/// See [`Call::token`].
pub(super) fn token(headers: &HeaderMap, query: &str) -> Option<String> {
    let in_header = bearer(headers).map(str::to_owned);
    let in_protocol = || bearer_token(&joined(headers, SEC_WEBSOCKET_PROTOCOL)).map(str::to_owned);
    in_header
        .or_else(in_protocol)
        .or_else(|| query_value(query, "token"))
}

/// The first non-empty value of a name in a query string, decoded.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, value)| *key == name && !value.is_empty())?;
    Some(
        percent_decode_str(&value.replace('+', " "))
            .decode_utf8()
            .ok()?
            .into_owned(),
    )
}

/// A segment of a path, decoded. None: it is no UTF-8.
pub(super) fn segment(raw: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(raw).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    fn request(headers: &[(HeaderName, &'static str)], query: &str) -> Call {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Call {
            method: Method::GET,
            headers: headers.collect(),
            query: query.into(),
            peer: None,
            address: None,
        }
    }

    #[test]
    fn a_token_may_come_three_ways() {
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
    fn header_lines_are_one_list() {
        let mut call = request(&[(SEC_WEBSOCKET_PROTOCOL, "bearer")], "");
        call.headers
            .append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("aaa"));
        assert_eq!(call.header(SEC_WEBSOCKET_PROTOCOL), "bearer, aaa");
        assert_eq!(call.token().as_deref(), Some("aaa"));
    }
}
