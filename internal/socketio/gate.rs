//! What the HTTP side must know of somebody who answers whole addresses by himself, WebSockets among them.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection behind its `101`.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where a request comes from; an extension of each.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// A WebSocket.
    pub websocket: bool,
    /// A session that is not there yet. It outlives the request, so it is counted against a limit of its own.
    pub opens: bool,
}

/// Addresses beside the routes. The HTTP side has judged the origin and counted the connection before it asks.
pub trait Gate: Send + Sync {
    /// Whether a path is one of them.
    fn has(&self, path: &str) -> bool;

    /// Largest body of a request, in bytes.
    fn body_limit(&self) -> usize;

    /// What a request wants, or the answer if it can't be had.
    ///
    /// # Errors
    /// The answer.
    fn judge(&self, head: &Parts) -> Result<Ask, Box<Response<Bytes>>>;

    /// Answers a request that wants no WebSocket. It may wait as long as a poll does.
    fn answer(&self, request: Request<Bytes>) -> BoxFuture<'static, Response<Bytes>>;

    /// Takes a WebSocket for which `101` was answered.
    fn adopt(&self, line: Box<dyn Duplex>, head: Request<()>);
}
