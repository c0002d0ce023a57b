//! The interface of a service mounted under a path prefix that handles its own requests and
//! WebSocket upgrades.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

/// An upgraded connection, after the `101` response.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The address of the TCP peer, stored in the extensions of each request.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// The kind of a request, which decides how it is counted and handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Set if the request asks for a WebSocket.
    pub websocket: bool,
    /// Set if the request opens a new session. A session outlives the request, so it has its own
    /// limit.
    pub opens: bool,
}

/// A service with its own paths. Before each call, the HTTP side has checked the origin and counted
/// the connection.
pub trait Gate: Send + Sync {
    /// Returns whether a path belongs to this service.
    fn has(&self, path: &str) -> bool;

    /// Returns the largest request body in bytes.
    fn body_limit(&self) -> usize;

    /// Classifies a request.
    ///
    /// # Errors
    ///
    /// Returns the response if the request is not valid.
    fn judge(&self, head: &Parts) -> Result<Ask, Box<Response<Bytes>>>;

    /// Handles a request that asks for no WebSocket. It may take as long as a poll does.
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>>;

    /// Takes over a WebSocket for which `101` was sent.
    fn adopt(&self, stream: Box<dyn Duplex>, head: Request<()>);
}
