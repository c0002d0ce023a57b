//! One HTTP connection: hyper on the socket, our deadlines around it, warp's routes behind it.

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

use crate::drain::Drain;
use crate::http::accept::tune;
use crate::http::cors::{Verdict, with_credentials};
use crate::http::farewell::Farewell;
use crate::http::refusal::Refusal;
use crate::http::seats::{Full, Seat};
use crate::http::site::Quay;
use crate::http::tls::Tls;
use crate::http::wing::Wing;
use crate::http::{Annex, Config, Doors, Extra, Response, Seats, knock};
use crate::shard::{Admitted, Caller, Porter};
use crate::socketio::Gate;
use crate::telemetry::Metrics;

/// Largest request head, and most of an answer that hyper keeps before the socket takes it.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long a connection without a request is waited for when the server stops.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What all connections share.
pub(super) struct Front {
    /// None: this listener has a gate alone.
    pub(super) doors: Option<Arc<Doors>>,
    pub(super) config: Config,
    pub(super) seats: Seats,
    /// None: no TLS.
    pub(super) tls: Option<Tls>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    /// What an app adds to `/ws`.
    quay: Option<Quay>,
    routes: Extra,
    gate: Option<Wing>,
    farewell: Farewell,
    http: Builder,
    /// Where connections that a shard sends back are served.
    runtime: Handle,
}

/// A socket of which some bytes were read already.
#[derive(Debug)]
pub(super) struct Said {
    bytes: Bytes,
    socket: TcpStream,
}

/// Who is on the other end. An extension of every request.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    address: SocketAddr,
    /// Taken out by an upgrade, else freed with the connection.
    seat: Mutex<Option<Seat>>,
    /// A complete request head has come. Relaxed: only this connection's task writes and reads it.
    greeted: AtomicBool,
}

impl Peer {
    fn new(address: SocketAddr, seat: Seat) -> Self {
        Self(Arc::new(PeerState {
            address,
            seat: Mutex::new(Some(seat)),
            greeted: AtomicBool::new(false),
        }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The seat, to travel with the socket; none if it has left already.
    pub(super) fn take_seat(&self) -> Option<Seat> {
        self.0
            .seat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Front {
    /// To be called on the runtime that is to serve.
    pub(super) fn new(
        doors: &Arc<Doors>,
        annex: &Annex,
        routes: Extra,
        gate: Option<Arc<dyn Gate>>,
    ) -> Self {
        let Doors {
            config,
            seats,
            metrics,
            drain,
            ..
        } = &**doors;
        let front = Self::bare(config, gate, seats.clone(), metrics, drain);
        Self {
            doors: Some(Arc::clone(doors)),
            tls: doors.tls.clone(),
            quay: annex.quay(),
            routes,
            ..front
        }
    }

    /// A front with nothing behind it but a gate.
    pub(super) fn bare(
        config: &Config,
        gate: Option<Arc<dyn Gate>>,
        seats: Seats,
        metrics: &Arc<Metrics>,
        drain: &Drain,
    ) -> Self {
        let mut http = Builder::new();
        // hyper's one timer runs from the end of an answer to the end of the next head, so it bounds idling as well; the first head,
        // which strangers send, has a shorter one of ours.
        http.timer(TokioTimer::new())
            .header_read_timeout(config.keep_alive)
            .max_buf_size(BUFFER_BYTES);
        let (metrics, drain, runtime) = (Arc::clone(metrics), drain.clone(), Handle::current());
        let gate = gate.map(|gate| Wing::new(gate, config, &drain));
        let nothing = warp::any()
            .and_then(|| ready(Err(warp::reject::not_found())))
            .boxed();
        let (doors, tls, quay, config, farewell) = (
            None,
            None,
            None,
            config.clone(),
            Farewell::new(drain.clone()),
        );
        Self {
            doors,
            config,
            seats,
            tls,
            metrics,
            drain,
            quay,
            routes: nothing,
            gate,
            farewell,
            http,
            runtime,
        }
    }

    /// Hands a connection to whoever hears its first words: a shard, or hyper where there are no doors.
    pub(super) fn let_speak(self: &Arc<Self>, caller: Caller) {
        match &self.doors {
            Some(doors) => doors.shards.knock(caller, Arc::clone(self) as _),
            None => Arc::clone(self).take_back(caller, &[]),
        }
    }

    /// A seat for a connection from this address, if it may come now.
    pub(super) fn seat(&self, address: IpAddr) -> Result<Seat, Full> {
        self.seats.arrive()?;
        // A proxy's connections are counted once they say whose they are.
        self.seats
            .take((!self.config.proxies.trust(address)).then_some(address))
    }

    /// Serves a connection until either end has enough, it is upgraded, or the server has stopped and waited long enough.
    async fn converse(self: Arc<Self>, caller: Caller, bytes: Bytes) {
        let Caller {
            socket,
            address,
            permit,
            since,
        } = caller;
        let socket = match TcpStream::from_std(socket) {
            Ok(socket) => Said { bytes, socket },
            Err(error) => return debug!(%error, peer = %address, "a socket could not be watched"),
        };
        let peer = Peer::new(address, Seat(permit));
        let service = service_fn(|request| {
            peer.0.greeted.store(true, Ordering::Relaxed);
            Arc::clone(&self).answer(peer.clone(), request)
        });
        let mut conversation = pin!(
            self.http
                .serve_connection(TokioIo::new(socket), service)
                .with_upgrades()
        );
        let mut deadline = pin!(sleep_until((since + self.config.head_timeout).into()));
        let (mut timed, mut stopping, mut leaving) = (true, false, false);
        loop {
            tokio::select! {
                ended = &mut conversation => {
                    if let Err(error) = ended {
                        debug!(%error, peer = %address, "a connection ended badly");
                    }
                    return;
                }
                () = &mut deadline, if timed => {
                    let greeted = peer.0.greeted.load(Ordering::Relaxed);
                    if stopping && greeted && !leaving {
                        leaving = true;
                        conversation.as_mut().graceful_shutdown();
                        deadline.as_mut().reset(Instant::now() + self.config.drain_grace);
                        continue;
                    }
                    timed = false;
                    if stopping && !greeted {
                        return;
                    }
                    if stopping {
                        debug!(peer = %address, "a connection outlasted the drain and was cut");
                        return;
                    }
                    if !greeted {
                        self.metrics.refuse("slow_head");
                        return;
                    }
                }
                () = self.drain.stopping(), if !stopping => {
                    (timed, stopping) = (true, true);
                    // hyper would hang up on whoever has not spoken yet: a first request may be on its way.
                    let patience = if peer.0.greeted.load(Ordering::Relaxed) { Duration::ZERO } else { LAST_WORDS };
                    deadline.as_mut().reset(Instant::now() + patience.min(self.config.drain_grace));
                }
            }
        }
    }

    async fn answer(
        self: Arc<Self>,
        peer: Peer,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let verdict = Verdict::of(&self.config.origins, request.headers());
        let gate = self
            .gate
            .as_ref()
            .filter(|gate| gate.has(request.uri().path()));
        let refused = |refusal: Refusal| refusal.into_response(&self.metrics);
        let mut response = match (verdict.preflight(request.method(), request.headers()), gate) {
            (Some(preflight), _) => preflight.unwrap_or_else(refused),
            (None, Some(gate)) => gate.answer(&peer, request).await.unwrap_or_else(refused),
            (None, None) => {
                request.extensions_mut().insert(peer);
                TowerToHyperService::new(warp::service(self.routes.clone()))
                    .call(request)
                    .await?
            }
        };
        verdict.put(&self.config.origins, &mut response);
        if gate.is_some() {
            with_credentials(&mut response);
        }
        Ok(response)
    }
}

impl Porter for Front {
    fn welcome(&self, socket: std::net::TcpStream, address: SocketAddr) -> Option<Caller> {
        match self.seat(address.ip()) {
            Ok(seat) => {
                if cfg!(not(target_os = "linux")) {
                    tune(&SockRef::from(&socket), self.config.unacknowledged);
                }
                Some(Caller {
                    socket,
                    address,
                    permit: seat.0,
                    since: std::time::Instant::now(),
                })
            }
            Err(full) => {
                self.metrics.refuse(match full {
                    Full::House => "connection_limit",
                    Full::Address => "address_limit",
                    Full::Rush => "handshake_rate",
                });
                if self.tls.is_none() {
                    // The shard's thread is none of the runtime's.
                    let _runtime = self.runtime.enter();
                    self.farewell.bid(socket, full);
                }
                None
            }
        }
    }

    fn admit(&self, said: &[u8], address: SocketAddr) -> Option<Admitted> {
        knock::admit(self.doors.as_ref()?, self.quay.as_ref(), said, address)
    }

    fn take_back(self: Arc<Self>, caller: Caller, said: &[u8]) {
        let drain = self.drain.clone();
        // The shard's thread is none of the runtime's.
        let _runtime = self.runtime.clone().enter();
        drain.spawn(self.converse(caller, Bytes::copy_from_slice(said)));
    }
}

impl Said {
    /// The socket, out of the runtime, and all that came behind the request: what hyper had read of it, and what it had not.
    pub(super) fn into_parts(self, read: &[u8]) -> io::Result<(std::net::TcpStream, Bytes)> {
        Ok((self.socket.into_std()?, [read, &self.bytes].concat().into()))
    }

    /// The same, to stay in the runtime.
    pub(super) fn said(self, read: &[u8]) -> Self {
        Self {
            bytes: [read, &self.bytes].concat().into(),
            socket: self.socket,
        }
    }
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, into);
        }
        let count = self.bytes.len().min(into.remaining());
        into.put_slice(&self.bytes[..count]);
        self.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
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
