//! The interface of a service mounted under a path prefix that handles its own requests and
//! WebSocket upgrades.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};

use latido_shard::HandlerSpec;

/// The address of the TCP peer, stored in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// The kind of a request, which decides how it is counted and handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKind {
    /// Set if the request asks for a WebSocket.
    pub is_websocket: bool,
    /// Set if the request opens a new session. A session outlives the request, so it has its own
    /// limit.
    pub opens_session: bool,
}

/// A service with its own paths. Before each call, the HTTP side has checked the origin and counted
/// the connection.
pub trait MountedService: Send + Sync {
    /// Returns whether a path belongs to this service.
    fn matches(&self, path: &str) -> bool;

    /// Returns the largest body of a request with that head, in bytes.
    fn body_limit(&self, head: &Parts) -> usize;

    /// Classifies a request.
    ///
    /// # Errors
    ///
    /// Returns the response if the request is not valid.
    fn classify(&self, head: &Parts) -> Result<RequestKind, Box<Response<Bytes>>>;

    /// Handles a request that asks for no WebSocket. It may take as long as a poll does. The future
    /// is dropped if the client disconnects.
    fn handle(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>>;

    /// Accepts a request for a WebSocket whose handshake is valid. Returns the specification of its
    /// handler, which a shard attaches to the socket after the `101`.
    ///
    /// # Errors
    ///
    /// Returns the response if the request is refused.
    fn upgrade(&self, head: Parts) -> Result<HandlerSpec, Box<Response<Bytes>>>;
}
