//! Listening sockets. The shards accept from them, and where they can't a loop does.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::{debug, error, info};

use crate::drain::Drain;
use crate::http::connection::Front;
use crate::http::routes::routes;
use crate::http::{Annex, Config, Doors, Seats};
use crate::shard::{BackOff, Porter as _, SEND_BUFFER_BYTES, is_the_peers};
use crate::socketio::Gate;
use crate::telemetry::Metrics;

/// Connections that the kernel may hold for us: a deployment's worth of clients reconnecting at once.
const BACKLOG: i32 = 4096;
/// Refusals that an operator's alert waits for: shown at zero from the start, since Prometheus sees no rise in what first appears at one.
const AWAITED: [&str; 10] = [
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
/// A silent peer is probed after this long, this often, so many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

/// A bound, listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens; with the real port if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Binds the first of the addresses that can be bound, and listens. More than one serves where a system may lack IPv6: «every interface»
/// is `[::]`, else `0.0.0.0`. Needs no runtime, so that a port in use shows before anything is started.
///
/// # Errors
/// That of the last address.
pub fn bind(addresses: &[SocketAddr]) -> io::Result<Listener> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for address in addresses {
        match bind_one(*address, false) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Binds an address and listens. `reuse_port`: beside other processes that say the same; the kernel deals connections out among them.
pub(super) fn bind_one(address: SocketAddr, reuse_port: bool) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A restarted server gets its port back although old connections still linger in the kernel.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // IPv4 as well, whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    if reuse_port {
        rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    adopt(TcpListener::from(socket))
}

/// A socket that listens already.
pub(super) fn adopt(socket: TcpListener) -> io::Result<Listener> {
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

/// Has connections accepted until the server stops; returns then, while [`Drain`] counts the connections that are still open. If the
/// socket can't be watched, the server is stopped.
pub async fn serve(listener: Listener, doors: Arc<Doors>, annex: Annex) {
    let front = Front::new(&doors, &annex, routes(&doors, &annex), annex.gate.clone());
    doors.metrics.refusals.expect(AWAITED);
    run(listener, front, &annex).await;
}

/// The same with a gate alone, and nothing of a server behind it.
pub async fn host(listener: Listener, config: &Config, gate: Arc<dyn Gate>, drain: &Drain) {
    let front = Front::bare(
        config,
        Some(gate),
        Seats::new(config),
        &Arc::new(Metrics::new()),
        drain,
    );
    run(listener, front, &Annex::default()).await;
}

async fn run(listener: Listener, front: Front, annex: &Annex) {
    let Listener { socket, address } = listener;
    if cfg!(target_os = "linux") {
        tune(&SockRef::from(&socket), front.config.unacknowledged);
    }
    let front = Arc::new(front);
    let say = || {
        // The first such line of a log is the main listener's: whoever starts a server waits for it.
        if annex.is_theirs {
            info!(listener = %address, apps = ?annex.apps, "listening for apps")
        } else {
            info!(%address, "listening")
        }
    };
    if let (Some(doors), None) = (&front.doors, &front.tls) {
        let entrance = doors.shards.open(socket, Arc::clone(&front) as _);
        say();
        front.drain.stopping().await;
        return entrance
            .close()
            .iter()
            .for_each(|socket| last_ones(socket, &front));
    }
    // Not tokio's own listener: that would have each socket watched by the runtime, only to be let go when a shard takes it.
    #[expect(
        deprecated,
        reason = "safe for a std listener, which keeps its descriptor; the new form is unsafe for all"
    )]
    let watched = AsyncFd::with_interest(socket, Interest::READABLE);
    match watched {
        Ok(sockets) => {
            say();
            accept(&sockets, &front).await;
        }
        Err(error) => {
            error!(%address, %error, "can't listen");
            front.drain.stop();
        }
    }
}

/// Accepts where no shard does: what comes has TLS to begin with, or there are no shards behind it.
async fn accept(sockets: &AsyncFd<TcpListener>, front: &Arc<Front>) {
    let mut back_off = BackOff::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = front.drain.stopping() => return last_ones(sockets.get_ref(), front),
            accepted = sockets.async_io(Interest::READABLE, accept_one) => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                back_off.end();
                welcome(front, socket, peer);
            }
            Err(error) if is_the_peers(&error) => {
                debug!(%error, "a connection was gone before it was accepted")
            }
            Err(error) => rest(&front.drain, back_off.pause(&error, front.seats.taken())).await,
        }
    }
}

/// Who was connected by the kernel before the socket closes gets an answer, and not a reset.
fn last_ones(sockets: &TcpListener, front: &Arc<Front>) {
    for _ in 0..BACKLOG {
        match accept_one(sockets) {
            Ok((socket, peer)) => welcome(front, socket, peer),
            Err(error) if is_the_peers(&error) => {}
            Err(_) => return,
        }
    }
}

fn accept_one(sockets: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = sockets.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, peer))
}

fn welcome(front: &Arc<Front>, socket: TcpStream, address: SocketAddr) {
    let Some(caller) = front.welcome(socket, address) else {
        return;
    };
    match &front.tls {
        Some(tls) => tls.knock(front, caller),
        None => front.let_speak(caller),
    }
}

/// What every connection gets. Linux hands all of it on from a listening socket to those that are accepted; elsewhere it is set on each.
///
/// Options are wishes: a socket that refuses one is served all the same, and if it is dead the first read will say so.
pub(super) fn tune(socket: &SockRef<'_>, unacknowledged: Duration) {
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

async fn rest(drain: &Drain, pause: Duration) {
    tokio::select! {
        () = drain.stopping() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_that_works_is_taken() {
        let taken = bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        let free = bind(&[taken.address(), ([127, 0, 0, 1], 0).into()]).unwrap();
        assert_ne!(free.address().port(), taken.address().port());
        assert_eq!(
            bind(&[taken.address()]).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert!(bind(&[]).is_err());
    }

    /// What [`tune`] relies on.
    #[cfg(target_os = "linux")]
    #[test]
    fn accepted_sockets_inherit_the_listeners_options() {
        let listener = bind(&[([127, 0, 0, 1], 0).into()]).unwrap();
        tune(&SockRef::from(&listener.socket), Duration::from_secs(7));
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
