//! What a session keeps of the request that opened it.

use std::net::SocketAddr;

use http::request::Parts;

use latido_http::PeerAddress;

/// The parts of a session's first request that its apps read: a few headers, the query and the
/// address. All other headers are dropped, because they take more memory than the session.
#[derive(Debug, Default)]
pub struct RequestInfo {
    headers: Box<[(&'static str, Box<str>)]>,
    query: Box<str>,
    peer: Option<SocketAddr>,
}

impl RequestInfo {
    /// Keeps the query, the address and these headers of a request.
    pub(crate) fn new(head: &Parts, headers: &[&'static str]) -> Self {
        let kept = headers.iter().filter_map(|name| {
            let value = head.headers.get(*name)?.to_str().ok()?;
            Some((*name, value.into()))
        });
        Self {
            headers: kept.collect(),
            query: head.uri.query().unwrap_or_default().into(),
            peer: head.extensions.get().map(|PeerAddress(address)| *address),
        }
    }

    /// Returns a header that an app [keeps](crate::SocketIoApp::kept_headers), or `None` if it is
    /// missing or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| &**value)
    }

    /// Returns the query, without the question mark.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Returns the address of the client.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}
