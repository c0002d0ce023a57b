//! Listening sockets. The shards accept from them; where they can't, a loop does.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::{debug, error, info};

use crate::mount::MountedService;
use crate::routes::routes;
use crate::server::HttpServer;
use crate::{AppMounts, Config, ConnectionLimits, ServerState};
use latido_base::drain::Drain;
use latido_shard::{AcceptBackoff, ConnectionHandler as _, SEND_BUFFER_BYTES, is_peer_error};
use latido_telemetry::Metrics;

/// The kernel's queue of connections not accepted yet: room for all clients of a deployment that
/// reconnect at once.
const BACKLOG: i32 = 4096;
/// Refusal reasons used in alerts. They are exported at zero from the start, because Prometheus
/// sees no increase in a series that first appears at one.
const KNOWN_REFUSALS: [&str; 10] = [
    "connection_limit",
    "address_limit",
    "user_limit",
    "handshake_rate",
    "hook_key",
    "signature",
    "expired",
    "malformed",
    "claims",
    "algorithm",
];
/// TCP keepalive: the idle time before the first probe, the interval, and the number of probes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// A bound, listening socket and its address.
#[derive(Debug)]
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
}

impl HttpListener {
    /// Returns the local address, with the real port if port 0 was requested.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the first of the addresses that can be bound, and listens.
///
/// Several addresses are for systems that may lack IPv6: «every interface» is `[::]`, else
/// `0.0.0.0`. Needs no runtime, so that a port in use is reported before anything is started.
///
/// # Errors
/// Returns the error of the last address.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<HttpListener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for address in addresses {
        match bind_one(*address, false) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Binds an address and listens. With `reuse_port`, other processes that set it too can share the
/// port, and the kernel distributes connections among them.
pub(super) fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<HttpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted server gets its port back although old connections still linger in the kernel.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Accepts IPv4 as well, independent of the system's default.
        socket.set_only_v6(false)?;
    }
    if reuse_port {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    from_listening_socket(TcpListener::from(socket))
}

/// Wraps a socket that is already listening.
pub(super) fn from_listening_socket(socket: TcpListener) -> io::Result<HttpListener> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(HttpListener { socket, address })
}

/// Serves a listener until the server stops. On return, [`Drain`] still counts the connections that
/// are open. If the socket can't be watched, the server is stopped.
pub async fn serve(listener: HttpListener, state: Arc<ServerState>, mounts: AppMounts) {
    let server = HttpServer::new(
        &state,
        &mounts,
        routes(&state, &mounts),
        mounts.socketio_mount.clone(),
    );
    state.metrics.refusals.init_labels(KNOWN_REFUSALS);
    run_listener(listener, server, &mounts).await;
}

/// Serves only a mounted service (Socket.IO), without routes or shards behind it.
pub async fn serve_mount(
    listener: HttpListener,
    config: &Config,
    mount: Arc<dyn MountedService>,
    drain: &Drain,
) {
    let server = HttpServer::mount_only(
        config,
        Some(mount),
        ConnectionLimits::new(config),
        &Arc::new(Metrics::new()),
        drain,
    );
    run_listener(listener, server, &AppMounts::default()).await;
}

async fn run_listener(listener: HttpListener, server: HttpServer, mounts: &AppMounts) {
    let HttpListener { socket, address } = listener;
    if cfg!(target_os = "linux") {
        set_socket_options(
            &SockRef::from(&socket),
            server.config.unacknowledged_timeout,
        );
    }
    let server = Arc::new(server);
    let log_listening = || {
        // The first such line of a log is the main listener's: programs that start a server wait
        // for it.
        if mounts.is_dedicated {
            info!(listener = %address, apps = ?mounts.apps, "listening for apps")
        } else {
            info!(%address, "listening")
        }
    };
    if let (Some(state), None) = (&server.state, &server.tls) {
        let registration = state
            .shards
            .serve_listener(socket, Arc::clone(&server) as _);
        log_listening();
        server.drain.stopping().await;
        return registration
            .close()
            .iter()
            .for_each(|socket| drain_backlog(socket, &server));
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
            accept_loop(&sockets, &server).await;
        }
        Err(error) => {
            error!(%address, %error, "can't listen");
            server.drain.stop();
        }
    }
}

/// Accepts connections where no shard does: with TLS, or without shards behind the listener.
async fn accept_loop(sockets: &AsyncFd<TcpListener>, server: &Arc<HttpServer>) {
    let mut backoff = AcceptBackoff::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.drain.stopping() => return drain_backlog(sockets.get_ref(), server),
            accepted = sockets.async_io(Interest::READABLE, accept_one) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                backoff.reset();
                on_accepted(server, socket, peer);
            }
            Err(error) if is_peer_error(&error) => {
                debug!(%error, "a connection was gone before it was accepted")
            }
            Err(error) => {
                sleep_or_stop(
                    &server.drain,
                    backoff.next_pause(&error, server.limits.in_use()),
                )
                .await
            }
        }
    }
}

/// Accepts the connections that the kernel had queued before the socket closes, so that they get a
/// response and not a reset.
fn drain_backlog(sockets: &TcpListener, server: &Arc<HttpServer>) {
    for _ in 0..BACKLOG {
        match accept_one(sockets) {
            Ok((socket, peer)) => on_accepted(server, socket, peer),
            Err(error) if is_peer_error(&error) => {}
            Err(_) => return,
        }
    }
}

fn accept_one(sockets: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = sockets.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

fn on_accepted(server: &Arc<HttpServer>, socket: TcpStream, address: SocketAddr) {
    let Some(pending) = server.accept(socket, address) else {
        return;
    };
    match &server.tls {
        Some(tls) => tls.accept(server, pending),
        None => server.dispatch(pending),
    }
}

/// Sets the options that every connection gets. On Linux accepted sockets inherit them from the
/// listening socket; elsewhere they are set on each connection.
///
/// Errors are ignored: a socket that rejects an option is served all the same, and a dead one fails
/// at its first read.
pub(super) fn set_socket_options(socket: &SockRef<'_>, unacknowledged: Duration) {
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_send_buffer_size(SEND_BUFFER_BYTES);
    let (idle, interval, probes) = KEEPALIVE;
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(probes);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(unacknowledged));
    #[cfg(not(target_os = "linux"))]
    let _ = unacknowledged;
}

async fn sleep_or_stop(drain: &Drain, pause: Duration) {
    tokio::select! {
        () = drain.stopping() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bindable_address_is_used() {
        let taken = bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        let free = bind(&[taken.address(), ([127, 0, 0, 1], 0).into()]).unwrap();
        assert_ne!(free.address().port(), taken.address().port());
        assert_eq!(
            bind(&[taken.address()]).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(bind(&[]).is_err());
    }

    /// Verifies the inheritance that [`set_socket_options`] relies on.
    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let listener = bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        set_socket_options(&SockRef::from(&listener.socket), Duration::from_secs(7));
        let _client = TcpStream::connect(listener.address()).unwrap();
        let accepted = loop {
            match accept_one(&listener.socket) {
                Ok((socket, _)) => break socket,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        let (accepted, (idle, interval, probes)) = (SockRef::from(&accepted), KEEPALIVE);
        assert!(
            accepted.nonblocking().unwrap()
                && accepted.tcp_nodelay().unwrap()
                && accepted.keepalive().unwrap()
        );
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(
            (
                accepted.tcp_keepalive_interval().unwrap(),
                accepted.tcp_keepalive_retries().unwrap()
            ),
            (interval, probes)
        );
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            accepted.send_buffer_size().unwrap(),
            2 * SEND_BUFFER_BYTES,
            "the kernel doubles what it is told"
        );
    }
}
