//! Serving a listener. The shards accept from its socket; where they can't, a loop does.

use crate::listen::BACKLOG;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout_at;
use tracing::{debug, error, info, warn};

use crate::app_mounts::AppMounts;
use crate::config::Config;
use crate::listen::HttpListener;
use crate::mount::MountedService;
use crate::response::BoxedRoutes;
use crate::routes::routes;
use crate::server::HttpServer;
use crate::state::ServerState;
use crate::tls;
use crate::tls::Tls;
use latido_admission::{
    Acceptor, ConnectionLimits, PendingConnection, TokenClaim, set_socket_options,
};
use latido_base::drain::Drain;
use latido_shard::{AcceptBackoff, ConnectionHandler, ListenerContext, Shards, is_peer_error};
use latido_telemetry::Metrics;

/// Refusal reasons used in alerts. They are exported at zero from the start, because Prometheus
/// sees no increase in a series that first appears at one.
const KNOWN_REFUSALS: [&str; 13] = [
    "connection_limit",
    "address_limit",
    "user_limit",
    "handshake_rate",
    "request_rate",
    "token_rate",
    "slow_head",
    "hook_key",
    "signature",
    "expired",
    "malformed",
    "claims",
    "algorithm",
];

/// The connections of one listener, and where they are served.
struct Listening {
    acceptor: Arc<Acceptor>,
    http: Arc<dyn ConnectionHandler>,
    /// The shards that read the first bytes of connections. `None` if there are only the routes of
    /// a mounted service.
    shards: Option<(Arc<Shards>, Arc<ListenerContext>)>,
    /// The certificate, or `None` for plain HTTP.
    tls: Option<Tls>,
    head_timeout: Duration,
    unacknowledged_timeout: Duration,
    metrics: Arc<Metrics>,
    drain: Drain,
}

/// Serves a listener until the server stops. On return, [`Drain`] still counts the connections that
/// are open. If the socket can't be watched, the server is stopped.
pub async fn serve(listener: HttpListener, state: Arc<ServerState>, mounts: AppMounts) {
    state.metrics.refusals.init_labels(KNOWN_REFUSALS);
    let context = listener_context(&state, &mounts);
    run_listener(listener, Listening::new(&state, context), &mounts).await;
}

/// Serves only a mounted service (Socket.IO), without routes. The shards own its WebSockets.
pub async fn serve_mount(
    listener: HttpListener,
    config: &Config,
    mount: Arc<dyn MountedService>,
    shards: Arc<Shards>,
    drain: &Drain,
) {
    let metrics = Arc::new(Metrics::new());
    let limits = ConnectionLimits::new(&config.limits());
    let listening = Listening {
        acceptor: Arc::new(acceptor(config, limits, &metrics, drain)),
        http: Arc::new(HttpServer::mount_only(
            config,
            (mount, shards),
            &metrics,
            drain,
        )),
        shards: None,
        tls: None,
        head_timeout: config.head_timeout,
        unacknowledged_timeout: config.unacknowledged_timeout,
        metrics,
        drain: drain.clone(),
    };
    run_listener(listener, listening, &AppMounts::default()).await;
}

/// Serves only these routes, on plain HTTP and without shards.
pub(super) async fn serve_routes(
    listener: HttpListener,
    config: &Config,
    routes: BoxedRoutes,
    metrics: Arc<Metrics>,
    drain: &Drain,
) {
    let limits = ConnectionLimits::new(&config.limits());
    let listening = Listening {
        acceptor: Arc::new(acceptor(config, limits, &metrics, drain)),
        http: Arc::new(HttpServer::new(config, routes, None, &metrics, drain)),
        shards: None,
        tls: None,
        head_timeout: config.head_timeout,
        unacknowledged_timeout: config.unacknowledged_timeout,
        metrics,
        drain: drain.clone(),
    };
    run_listener(listener, listening, &AppMounts::default()).await;
}

fn acceptor(
    config: &Config,
    limits: ConnectionLimits,
    metrics: &Arc<Metrics>,
    drain: &Drain,
) -> Acceptor {
    Acceptor::new(
        limits,
        config.proxies.clone(),
        config.unacknowledged_timeout,
        Arc::clone(metrics),
        drain,
    )
}

/// Builds what the shards need to serve a listener.
pub(super) fn listener_context(state: &Arc<ServerState>, mounts: &AppMounts) -> ListenerContext {
    let ServerState {
        config,
        rules,
        metrics,
        drain,
        ..
    } = &**state;
    let acceptor = acceptor(config, rules.limits.clone(), metrics, drain);
    let extension = mounts.ws_extension();
    let app_tokens = extension.as_ref().map(|extension| -> TokenClaim {
        let app = Arc::clone(&extension.app);
        Arc::new(move |token| app.claims_token(token))
    });
    let mount = mounts
        .socketio_mount
        .clone()
        .map(|mount| (mount, Arc::clone(&state.shards)));
    let config = &Config {
        cookie_origins: mounts.cookie_origins.clone(),
        ..config.clone()
    };
    let server = HttpServer::new(config, routes(state, mounts), mount, metrics, drain)
        .dedicated(mounts.is_dedicated);
    ListenerContext {
        acceptor: Arc::new(if state.tls.is_some() {
            acceptor.without_responses()
        } else {
            acceptor
        }),
        rules: Arc::clone(rules),
        app_tokens,
        in_band_upgrade: extension.and_then(|extension| extension.in_band_upgrade),
        mount: server.mount_upgrade(),
        http: Arc::new(server),
    }
}

async fn run_listener(listener: HttpListener, listening: Listening, mounts: &AppMounts) {
    let HttpListener { socket, address } = listener;
    if cfg!(target_os = "linux") {
        set_socket_options(&SockRef::from(&socket), listening.unacknowledged_timeout);
    }
    // The address of the main listener is returned to the caller that started the server.
    let log_listening = || {
        if mounts.is_dedicated {
            info!(listener = %address, apps = mounts.apps.join(", "), "listening for apps")
        }
    };
    if let (Some((shards, context)), None) = (&listening.shards, &listening.tls) {
        let registration = shards.serve_listener(socket, Arc::clone(context));
        log_listening();
        listening.drain.stopping().await;
        return registration
            .close()
            .iter()
            .for_each(|socket| listening.drain_backlog(socket));
    }
    // Not tokio's own listener: that one registers each socket with the runtime, only to deregister
    // it when a shard takes it.
    #[expect(
        deprecated,
        reason = "safe for a std listener, which keeps its descriptor; the new form is unsafe for all"
    )]
    let watched = AsyncFd::with_interest(socket, Interest::READABLE);
    match watched {
        Ok(sockets) => {
            log_listening();
            listening.accept_loop(&sockets).await;
        }
        Err(error) => {
            error!(%address, %error, "can't listen");
            listening.drain.stop();
        }
    }
}

impl Listening {
    fn new(state: &ServerState, context: ListenerContext) -> Self {
        let ServerState {
            config,
            shards,
            tls,
            metrics,
            drain,
            ..
        } = state;
        let context = Arc::new(context);
        Self {
            acceptor: Arc::clone(&context.acceptor),
            http: Arc::clone(&context.http),
            shards: Some((Arc::clone(shards), context)),
            tls: tls.clone(),
            head_timeout: config.head_timeout,
            unacknowledged_timeout: config.unacknowledged_timeout,
            metrics: Arc::clone(metrics),
            drain: drain.clone(),
        }
    }

    /// Accepts connections where no shard does: with TLS, or without shards behind the listener.
    async fn accept_loop(&self, sockets: &AsyncFd<TcpListener>) {
        let mut backoff = AcceptBackoff::default();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.stopping() => return self.drain_backlog(sockets.get_ref()),
                accepted = sockets.async_io(Interest::READABLE, accept_one) => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    backoff.reset();
                    self.on_accepted(socket, peer);
                }
                Err(error) if is_peer_error(&error) => {
                    debug!(%error, "a connection was gone before it was accepted")
                }
                Err(error) => {
                    let pause = backoff.next_pause(&error, self.acceptor.in_use());
                    sleep_or_stop(&self.drain, pause).await;
                }
            }
        }
    }

    /// Accepts the connections that the kernel had queued before the socket closes, so that they
    /// get a response and not a reset.
    fn drain_backlog(&self, sockets: &TcpListener) {
        for _ in 0..BACKLOG {
            match accept_one(sockets) {
                Ok((socket, peer)) => self.on_accepted(socket, peer),
                Err(error) if is_peer_error(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn on_accepted(&self, socket: TcpStream, address: SocketAddr) {
        let Some(pending) = self.acceptor.accept(socket, address) else {
            return;
        };
        match &self.tls {
            Some(tls) => self.terminate_tls(tls, pending),
            None => dispatch(&self.http, self.shards.as_ref(), pending),
        }
    }

    /// Serves a connection that must start with TLS, within the deadline for its request head.
    fn terminate_tls(&self, tls: &Tls, pending: PendingConnection) {
        let PendingConnection {
            socket,
            address,
            permits,
            accepted_at,
        } = pending;
        let handshake = tls.accept(socket);
        let (metrics, drain) = (Arc::clone(&self.metrics), self.drain.clone());
        let (http, shards) = (Arc::clone(&self.http), self.shards.clone());
        let (deadline, stall) = (accepted_at + self.head_timeout, self.unacknowledged_timeout);
        self.drain.spawn(async move {
            let accepted = tokio::select! {
                () = drain.stopping() => return,
                accepted = timeout_at(deadline.into(), handshake) => accepted,
            };
            let stream = match accepted {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    debug!(%error, peer = %address, "a TLS handshake failed");
                    return metrics.count_refusal("tls");
                }
                Err(_) => return metrics.count_refusal("slow_head"),
            };
            let (socket, relay_end) = match tls::local_pair() {
                Ok(pair) => pair,
                Err(error) => return warn!(%error, "no local socket pair could be created for a TLS connection, which was dropped"),
            };
            let plain = PendingConnection {
                socket,
                address,
                permits,
                accepted_at,
            };
            dispatch(&http, shards.as_ref(), plain);
            tls::relay(stream, relay_end, stall, address).await;
        });
    }
}

/// Hands a connection to a shard, which reads its first bytes, or to HTTP if the listener has no
/// routes.
fn dispatch(
    http: &Arc<dyn ConnectionHandler>,
    shards: Option<&(Arc<Shards>, Arc<ListenerContext>)>,
    pending: PendingConnection,
) {
    match shards {
        Some((shards, context)) => shards.add_pending(pending, Arc::clone(context)),
        None => Arc::clone(http).serve_http(pending, &[]),
    }
}

fn accept_one(sockets: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = sockets.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

async fn sleep_or_stop(drain: &Drain, pause: Duration) {
    tokio::select! {
        () = drain.stopping() => {}
        () = tokio::time::sleep(pause) => {}
    }
}
