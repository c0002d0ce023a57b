//! One HTTP connection: hyper on the socket, our deadlines around it, warp's routes behind it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::drain::Drain;
use crate::http::cors::Verdict;
use crate::http::seats::Seat;
use crate::http::{Config, Doors, Extra, Response, Seats};
use crate::telemetry::Metrics;

/// Largest request head, and most of an answer that hyper keeps before the socket takes it.
const BUFFER_BYTES: usize = 16 * 1024;

/// What all connections share.
pub(super) struct Front {
    pub(super) config: Config,
    pub(super) seats: Seats,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drain: Drain,
    routes: Extra,
    http: Builder,
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
        Self(Arc::new(PeerState { address, seat: Mutex::new(Some(seat)), greeted: AtomicBool::new(false) }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The seat, to travel with the socket; none if it has left already.
    pub(super) fn take_seat(&self) -> Option<Seat> {
        self.0.seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Front {
    pub(super) fn new(doors: &Doors, routes: Extra) -> Self {
        let config = doors.config.clone();
        let mut http = Builder::new();
        // hyper's one timer runs from the end of an answer to the end of the next head, so it bounds idling as well; the first head,
        // which strangers send, has a shorter one of ours.
        http.timer(TokioTimer::new()).header_read_timeout(config.keep_alive).max_buf_size(BUFFER_BYTES);
        let (metrics, drain) = (Arc::clone(&doors.metrics), doors.drain.clone());
        Self { config, seats: doors.seats.clone(), metrics, drain, routes, http }
    }

    /// Serves a connection until either end has enough, it is upgraded, or the server has stopped and waited long enough.
    pub(super) async fn converse(self: Arc<Self>, socket: TcpStream, address: SocketAddr, seat: Seat) {
        let peer = Peer::new(address, seat);
        let service = service_fn(|request| {
            peer.0.greeted.store(true, Ordering::Relaxed);
            Arc::clone(&self).answer(peer.clone(), request)
        });
        let mut conversation = pin!(self.http.serve_connection(TokioIo::new(socket), service).with_upgrades());
        let mut deadline = pin!(sleep(self.config.head_timeout));
        let (mut timed, mut stopping) = (true, false);
        loop {
            tokio::select! {
                ended = &mut conversation => {
                    if let Err(error) = ended {
                        debug!(%error, peer = %address, "a connection ended badly");
                    }
                    return;
                }
                () = &mut deadline, if timed => {
                    timed = false;
                    if stopping {
                        debug!(peer = %address, "a connection outlasted the drain and was cut");
                        return;
                    }
                    if !peer.0.greeted.load(Ordering::Relaxed) {
                        self.metrics.refusals.add("slow_head");
                        return;
                    }
                }
                () = self.drain.stopping(), if !stopping => {
                    (timed, stopping) = (true, true);
                    conversation.as_mut().graceful_shutdown();
                    deadline.as_mut().reset(Instant::now() + self.config.drain_grace);
                }
            }
        }
    }

    async fn answer(self: Arc<Self>, peer: Peer, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let verdict = Verdict::of(&self.config.origins, request.headers());
        let mut response = match verdict.preflight(request.method(), request.headers()) {
            Some(preflight) => preflight.unwrap_or_else(|refusal| refusal.into_response(&self.metrics)),
            None => {
                request.extensions_mut().insert(peer);
                TowerToHyperService::new(warp::service(self.routes.clone())).call(request).await?
            }
        };
        verdict.put(&self.config.origins, &mut response);
        Ok(response)
    }
}
