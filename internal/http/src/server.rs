//! One HTTP connection: hyper on the socket, the server's deadlines around it, warp's routes behind
//! it.

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing::debug;
use warp::Filter as _;

use crate::config::Config;
use crate::cors::{CorsDecision, allow_credentials};
use crate::error::ApiError;
use crate::head_guard::HeadGuard;
use crate::mount::MountedService;
use crate::mount_handler::MountHandler;
use crate::peer::Peer;
use crate::prefixed_stream::PrefixedStream;
use crate::response::{BoxedRoutes, Response};
use latido_admission::PendingConnection;
use latido_base::drain::Drain;
use latido_shard::{ConnectionHandler, MountUpgrade, Shards};
use latido_telemetry::Metrics;

/// The largest request head, and the most response bytes that hyper buffers per connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// The address of the metrics.
const METRICS_PATH: &str = "/metrics";

/// The grace for a connection without a request when the server stops.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// The HTTP server of one listener, shared by all of its connections.
pub(super) struct HttpServer {
    config: Config,
    metrics: Arc<Metrics>,
    drain: Drain,
    routes: BoxedRoutes,
    mount: Option<Arc<MountHandler>>,
    http: Builder,
    /// The runtime that serves connections which a shard hands back.
    runtime: Handle,
    /// True if the addresses of apps come before the server's own.
    is_dedicated: bool,
}

/// The stage of a connection, which decides its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first request head must arrive within its deadline.
    FirstHead,
    /// There is no deadline; hyper bounds the idle time.
    Open,
    /// The server stops: a first request may still be on its way.
    Draining,
    /// The request in progress is the last one, and must end within the drain's grace.
    LastRequest,
}

impl HttpServer {
    /// Creates the server of a listener. Must be called on the runtime that is to serve its
    /// connections.
    pub(super) fn new(
        config: &Config,
        routes: BoxedRoutes,
        mount: Option<(Arc<dyn MountedService>, Arc<Shards>)>,
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
        Self {
            config: config.clone(),
            metrics: Arc::clone(metrics),
            drain: drain.clone(),
            routes,
            mount: mount
                .map(|(mount, shards)| Arc::new(MountHandler::new(mount, config, shards, drain))),
            http,
            runtime: Handle::current(),
            is_dedicated: false,
        }
    }

    /// Creates a server that has no routes, only a mounted service.
    pub(super) fn mount_only(
        config: &Config,
        mount: (Arc<dyn MountedService>, Arc<Shards>),
        metrics: &Arc<Metrics>,
        drain: &Drain,
    ) -> Self {
        let no_routes = warp::any()
            .and_then(|| ready(Err(warp::reject::not_found())))
            .boxed();
        Self::new(config, no_routes, Some(mount), metrics, drain)
    }

    /// Returns the WebSockets of the mounted service, for the shards.
    pub(super) fn mount_upgrade(&self) -> Option<Arc<dyn MountUpgrade>> {
        Some(Arc::clone(self.mount.as_ref()?) as _)
    }

    /// Declares that the listener belongs to apps.
    #[must_use]
    pub(super) fn dedicated(mut self, is_dedicated: bool) -> Self {
        self.is_dedicated = is_dedicated;
        self
    }

    /// Serves a connection until either end closes it, it is upgraded, or the drain's grace has
    /// passed.
    async fn serve_connection(self: Arc<Self>, pending: PendingConnection, received: Bytes) {
        let PendingConnection {
            socket,
            address,
            permits,
            accepted_at,
        } = pending;
        let peer = Peer::new(address, permits);
        let metrics = Arc::clone(&self.metrics);
        let guard = HeadGuard::new(peer.clone(), self.config.head_timeout, metrics);
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => PrefixedStream::new(received, socket, guard),
            Err(error) => return debug!(%error, peer = %address, "a socket could not be watched"),
        };
        let service = service_fn(|request| {
            peer.set_request_seen();
            Arc::clone(&self).handle(peer.clone(), request)
        });
        let mut connection = pin!(
            self.http
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
        );
        let mut deadline = pin!(sleep_until((accepted_at + self.config.head_timeout).into()));
        let mut stage = Stage::FirstHead;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(%error, peer = %address, "a connection ended badly");
                    }
                    return;
                }
                () = &mut deadline, if stage != Stage::Open => match stage {
                    Stage::FirstHead if peer.request_seen() => stage = Stage::Open,
                    Stage::FirstHead => return self.metrics.count_refusal("slow_head"),
                    Stage::Draining if peer.request_seen() => {
                        stage = Stage::LastRequest;
                        connection.as_mut().graceful_shutdown();
                        deadline.as_mut().reset(Instant::now() + self.config.drain_grace);
                    }
                    Stage::LastRequest => {
                        return debug!(peer = %address, "a connection outlasted the drain and was cut");
                    }
                    Stage::Draining | Stage::Open => return,
                },
                () = self.drain.stopping(), if matches!(stage, Stage::FirstHead | Stage::Open) => {
                    stage = Stage::Draining;
                    // hyper would close a connection that has sent nothing yet, although its first
                    // request may be on its way.
                    let grace = if peer.request_seen() { Duration::ZERO } else { IDLE_GRACE };
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
        let cors = self.cors_decision(&request);
        let mount = self
            .mount
            .as_ref()
            .filter(|mount| mount.matches(request.uri().path()));
        let respond = |error: ApiError| error.into_response(&self.metrics);
        let preflight = cors.preflight(request.method(), request.headers());
        let mut response = match (check_host(&request), preflight, mount) {
            (Err(invalid), _, _) => respond(invalid),
            (Ok(()), Some(preflight), _) => preflight.unwrap_or_else(respond),
            (Ok(()), None, Some(mount)) => {
                mount.handle(&peer, request).await.unwrap_or_else(respond)
            }
            (Ok(()), None, None) => {
                request.extensions_mut().insert(peer.clone());
                TowerToHyperService::new(warp::service(self.routes.clone()))
                    .call(request)
                    .await?
            }
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            peer.set_upgrade_refused();
        }
        cors.apply(&self.config, &mut response);
        if mount.is_some() {
            allow_credentials(&mut response);
        }
        Ok(response)
    }

    /// Decides about CORS. No page may read the metrics, unless the address is an app's.
    fn cors_decision(&self, request: &Request<Incoming>) -> CorsDecision {
        if !self.is_dedicated && request.uri().path() == METRICS_PATH {
            return CorsDecision::NoHeaders;
        }
        CorsDecision::from_request(&self.config, request.headers())
    }
}

/// Rejects a request of HTTP/1.1 without exactly one `Host` (RFC 9112 §3.2). Two servers in a row
/// might each believe another one.
fn check_host<B>(request: &Request<B>) -> Result<(), ApiError> {
    let count = request.headers().get_all(HOST).iter().count();
    if count == 1 || (count == 0 && request.version() < Version::HTTP_11) {
        return Ok(());
    }
    Err(ApiError::bad_request("host", "expected one header Host").close_connection())
}

impl ConnectionHandler for HttpServer {
    fn serve_http(self: Arc<Self>, connection: PendingConnection, received: &[u8]) {
        let drain = self.drain.clone();
        // The shard's thread is not one of the runtime's.
        let _runtime = self.runtime.clone().enter();
        drain.spawn(self.serve_connection(connection, Bytes::copy_from_slice(received)));
    }
}
