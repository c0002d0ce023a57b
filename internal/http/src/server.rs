//! One HTTP connection: hyper on the socket, the server's deadlines around it, warp's routes behind
//! it.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use warp::Filter as _;

use crate::app_http::WsExtension;
use crate::connection_limits::{HttpPermit, LimitExceeded};
use crate::cors::{CorsDecision, allow_credentials};
use crate::error::ApiError;
use crate::listen::set_socket_options;
use crate::mount::MountedService;
use crate::mount_handler::MountHandler;
use crate::overload_response::OverloadResponder;
use crate::tls::Tls;
use crate::{
    AppMounts, BoxedRoutes, Config, ConnectionLimits, Response, ServerState, fast_upgrade,
};
use latido_base::drain::Drain;
use latido_shard::{AcceptedUpgrade, ConnectionHandler, PendingConnection};
use latido_telemetry::Metrics;

/// The largest request head, and the most response bytes that hyper buffers per connection.
const BUFFER_BYTES: usize = 16 * 1024;
/// The grace for a connection without a request when the server stops.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// The HTTP server of one listener, shared by all of its connections.
pub(super) struct HttpServer {
    /// The routes' state, or `None` if this listener serves only a mounted service.
    pub(super) state: Option<Arc<ServerState>>,
    pub(super) config: Config,
    pub(super) limits: ConnectionLimits,
    /// The certificate, or `None` for plain HTTP.
    pub(super) tls: Option<Tls>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    /// An app's extension of `/ws`, if there is one.
    ws_extension: Option<WsExtension>,
    routes: BoxedRoutes,
    mount: Option<MountHandler>,
    overload_responder: OverloadResponder,
    http: Builder,
    /// The runtime that serves connections which a shard hands back.
    runtime: Handle,
}

/// A socket whose first bytes were already read; reads return those first.
#[derive(Debug)]
pub(super) struct PrefixedStream {
    prefix: Bytes,
    socket: TcpStream,
}

/// The remote end of a connection, an extension of every request.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    address: SocketAddr,
    /// Taken out by an upgrade, else released with the connection.
    permit: Mutex<Option<HttpPermit>>,
    /// Set once a complete request head has arrived. Relaxed is enough: only this connection's task
    /// writes and reads it.
    request_seen: AtomicBool,
}

impl Peer {
    fn new(address: SocketAddr, permit: HttpPermit) -> Self {
        Self(Arc::new(PeerState {
            address,
            permit: Mutex::new(Some(permit)),
            request_seen: AtomicBool::new(false),
        }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Takes the permit, which then travels with the socket. Returns `None` if it was taken before.
    pub(super) fn take_permit(&self) -> Option<HttpPermit> {
        self.0
            .permit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl HttpServer {
    /// Creates the server. Must be called on the runtime that is to serve its connections.
    pub(super) fn new(
        state: &Arc<ServerState>,
        mounts: &AppMounts,
        routes: BoxedRoutes,
        mount: Option<Arc<dyn MountedService>>,
    ) -> Self {
        let ServerState {
            config,
            limits: seats,
            metrics,
            drain,
            ..
        } = &**state;
        let server = Self::mount_only(config, mount, seats.clone(), metrics, drain);
        Self {
            state: Some(Arc::clone(state)),
            tls: state.tls.clone(),
            ws_extension: mounts.ws_extension(),
            routes,
            ..server
        }
    }

    /// Creates a server that has no routes, only a mounted service.
    pub(super) fn mount_only(
        config: &Config,
        mount: Option<Arc<dyn MountedService>>,
        limits: ConnectionLimits,
        metrics: &Arc<Metrics>,
        drain: &Drain,
    ) -> Self {
        let mut http = Builder::new();
        // hyper's only timer runs from the end of one response to the end of the next request head,
        // so it bounds idling too. The first head, from an unknown client, has a shorter deadline
        // in `serve_connection`.
        http.timer(TokioTimer::new())
            .header_read_timeout(config.keep_alive)
            .max_buf_size(BUFFER_BYTES);
        let (metrics, drain, runtime) = (Arc::clone(metrics), drain.clone(), Handle::current());
        let mount = mount.map(|mount| MountHandler::new(mount, config, &drain));
        let no_routes = warp::any()
            .and_then(|| ready(Err(warp::reject::not_found())))
            .boxed();
        let (state, tls, ws_extension, config, overload) = (
            None,
            None,
            None,
            config.clone(),
            OverloadResponder::new(drain.clone()),
        );
        Self {
            state,
            config,
            limits,
            tls,
            metrics,
            drain,
            ws_extension,
            routes: no_routes,
            mount,
            overload_responder: overload,
            http,
            runtime,
        }
    }

    /// Hands a connection to a shard, which reads its first bytes, or to hyper if the listener has
    /// no routes.
    pub(super) fn dispatch(self: &Arc<Self>, pending: PendingConnection) {
        match &self.state {
            Some(state) => state.shards.add_pending(pending, Arc::clone(self) as _),
            None => Arc::clone(self).serve_http(pending, &[]),
        }
    }

    /// Acquires a permit for a connection from this address.
    ///
    /// # Errors
    /// The limit that is exceeded, if the connection may not be accepted now.
    pub(super) fn acquire_permit(&self, address: IpAddr) -> Result<HttpPermit, LimitExceeded> {
        self.limits.check_rate()?;
        // A trusted proxy's connections are counted later, by the client address of their requests.
        self.limits
            .acquire((!self.config.proxies.trusts(address)).then_some(address))
    }

    /// Serves a connection until either end closes it, it is upgraded, or the drain's grace has
    /// passed.
    async fn serve_connection(self: Arc<Self>, pending: PendingConnection, bytes: Bytes) {
        let PendingConnection {
            socket,
            address,
            permits: permit,
            accepted_at: since,
        } = pending;
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => PrefixedStream {
                prefix: bytes,
                socket,
            },
            Err(error) => return debug!(%error, peer = %address, "a socket could not be watched"),
        };
        let peer = Peer::new(address, HttpPermit(permit));
        let service = service_fn(|request| {
            peer.0.request_seen.store(true, Ordering::Relaxed);
            Arc::clone(&self).handle(peer.clone(), request)
        });
        let mut connection = pin!(
            self.http
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
        );
        let mut deadline = pin!(sleep_until((since + self.config.head_timeout).into()));
        let (mut timed, mut stopping, mut closing) = (true, false, false);
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(%error, peer = %address, "a connection ended badly");
                    }
                    return;
                }
                () = &mut deadline, if timed => {
                    let request_seen = peer.0.request_seen.load(Ordering::Relaxed);
                    if stopping && request_seen && !closing {
                        closing = true;
                        connection.as_mut().graceful_shutdown();
                        deadline.as_mut().reset(Instant::now() + self.config.drain_grace);
                        continue;
                    }
                    timed = false;
                    if stopping && !request_seen {
                        return;
                    }
                    if stopping {
                        debug!(peer = %address, "a connection outlasted the drain and was cut");
                        return;
                    }
                    if !request_seen {
                        self.metrics.count_refusal("slow_head");
                        return;
                    }
                }
                () = self.drain.stopping(), if !stopping => {
                    (timed, stopping) = (true, true);
                    // hyper would close a connection that has sent nothing yet, although its first
                    // request may be on its way.
                    let grace = if peer.0.request_seen.load(Ordering::Relaxed) { Duration::ZERO } else { IDLE_GRACE };
                    deadline.as_mut().reset(Instant::now() + grace.min(self.config.drain_grace));
                }
            }
        }
    }

    async fn handle(
        self: Arc<Self>,
        peer: Peer,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let cors = CorsDecision::from_request(&self.config.origins, request.headers());
        let mount = self
            .mount
            .as_ref()
            .filter(|mount| mount.matches(request.uri().path()));
        let respond = |error: ApiError| error.into_response(&self.metrics);
        let mut response = match (cors.preflight(request.method(), request.headers()), mount) {
            (Some(preflight), _) => preflight.unwrap_or_else(respond),
            (None, Some(mount)) => mount.handle(&peer, request).await.unwrap_or_else(respond),
            (None, None) => {
                request.extensions_mut().insert(peer);
                TowerToHyperService::new(warp::service(self.routes.clone()))
                    .call(request)
                    .await?
            }
        };
        cors.apply(&self.config.origins, &mut response);
        if mount.is_some() {
            allow_credentials(&mut response);
        }
        Ok(response)
    }
}

impl ConnectionHandler for HttpServer {
    fn accept(
        &self,
        socket: std::net::TcpStream,
        address: SocketAddr,
    ) -> Option<PendingConnection> {
        match self.acquire_permit(address.ip()) {
            Ok(permit) => {
                if cfg!(not(target_os = "linux")) {
                    set_socket_options(&SockRef::from(&socket), self.config.unacknowledged_timeout);
                }
                Some(PendingConnection {
                    socket,
                    address,
                    permits: permit.0,
                    accepted_at: std::time::Instant::now(),
                })
            }
            Err(exceeded) => {
                self.metrics.count_refusal(match exceeded {
                    LimitExceeded::Total => "connection_limit",
                    LimitExceeded::PerAddress => "address_limit",
                    LimitExceeded::ConnectRate => "handshake_rate",
                });
                if self.tls.is_none() {
                    // The shard's thread is not one of the runtime's.
                    let _runtime = self.runtime.enter();
                    self.overload_responder.reject(socket, exceeded);
                }
                None
            }
        }
    }

    fn try_upgrade(&self, bytes: &[u8], address: SocketAddr) -> Option<AcceptedUpgrade> {
        fast_upgrade::try_upgrade(
            self.state.as_ref()?,
            self.ws_extension.as_ref(),
            bytes,
            address,
        )
    }

    fn serve_http(self: Arc<Self>, pending: PendingConnection, bytes: &[u8]) {
        let drain = self.drain.clone();
        // The shard's thread is not one of the runtime's.
        let _runtime = self.runtime.clone().enter();
        drain.spawn(self.serve_connection(pending, Bytes::copy_from_slice(bytes)));
    }
}

impl PrefixedStream {
    /// Takes the socket out of the runtime. Also returns all bytes that came behind the request:
    /// `read`, which hyper had buffered, and those it had not read.
    pub(super) fn into_parts(self, read: &[u8]) -> io::Result<(std::net::TcpStream, Bytes)> {
        Ok((
            self.socket.into_std()?,
            [read, &self.prefix].concat().into(),
        ))
    }

    /// Puts the bytes that hyper had buffered back in front; the socket stays in the runtime.
    pub(super) fn with_prefix(self, read: &[u8]) -> Self {
        Self {
            prefix: [read, &self.prefix].concat().into(),
            socket: self.socket,
        }
    }
}

impl AsyncRead for PrefixedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, into);
        }
        let count = self.prefix.len().min(into.remaining());
        into.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PrefixedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
