//! Requests to a mounted service: the limits, origins, bodies and upgrades that apply to every
//! service.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;
use warp::http::StatusCode;
use warp::http::header::ORIGIN;
use warp::http::request::Parts;

use crate::body::{BodyError, collect};
use crate::connection::{Peer, Said};
use crate::gate::{Gate, PeerAddress};
use crate::identity::SOON;
use crate::refusal::Refusal;
use crate::seats::{Full, Seat};
use crate::{Config, Response, Seats, websocket};
use latido_base::drain::{DrainGuard, Drain};

/// The time from a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// The time a poll may continue when the server stops.
const POLL_GRACE: Duration = Duration::from_millis(500);
/// The time an upgraded socket may take to end after it was cancelled.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A mounted service of one listener, with its open sessions and sockets.
pub(super) struct Wing {
    gate: Arc<dyn Gate>,
    config: Config,
    /// The limit on sessions. It equals that on connections but is counted apart, since a polling
    /// session has no connection of its own.
    sessions: Seats,
    /// Counts the upgraded sockets until they are closed.
    lines: Drain,
    /// Cancels the sockets that are still open when the drain's grace ends.
    cut: CancellationToken,
    drain: Drain,
}

impl Wing {
    pub(super) fn new(mount: Arc<dyn Gate>, config: &Config, drain: &Drain) -> Self {
        let (open_upgrades, cancel) = (Drain::new(), CancellationToken::new());
        let parts = (
            open_upgrades.clone(),
            cancel.clone(),
            drain.clone(),
            config.drain_grace,
        );
        drain.spawn(async move {
            let (open_upgrades, cancel, drain, grace) = parts;
            drain.stopping().await;
            // These sockets the service does not end by itself: no session has used them yet, or
            // their clients accept no bytes.
            let left = open_upgrades.drain(grace / 2).await;
            if left > 0 {
                debug!(
                    left,
                    "upgraded connections outlasted the drain and were cut"
                );
                cancel.cancel();
                open_upgrades.drain(CUT_GRACE).await;
            }
        });
        Self {
            gate: mount,
            config: config.clone(),
            sessions: Seats::new(config),
            lines: open_upgrades,
            cut: cancel,
            drain: drain.clone(),
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.gate.has(path)
    }

    /// Answers a request to a path of the mounted service.
    pub(super) async fn answer(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response, Refusal> {
        if self.drain.is_stopping() {
            return Err(Refusal::unavailable(
                "draining",
                "the server is stopping; come back",
                SOON,
            ));
        }
        let (mut head, body) = request.into_parts();
        // CORS does not protect a WebSocket, nor does it prevent opening a session.
        if head.headers.get(ORIGIN).is_some_and(|origin| {
            !origin
                .to_str()
                .is_ok_and(|origin| self.config.origins.allow(origin))
        }) {
            return Err(Refusal::origin());
        }
        let kind = match self.gate.judge(&head) {
            Ok(kind) => kind,
            Err(response) => return Ok(response.map(Into::into)),
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        head.extensions.clear();
        let client = self.config.proxies.caller(peer.address(), &head.headers);
        head.extensions.insert(PeerAddress(client));
        if kind.opens {
            // The permit stays with the session, which keeps the head of the request that opened
            // it.
            head.extensions.insert(Arc::new(self.seat(client.ip())?));
        }
        if kind.websocket {
            return self.open(peer, head, upgrade);
        }
        let frames = body.into_data_stream();
        let collected = timeout(BODY_TIMEOUT, collect(frames, self.gate.body_limit()));
        let body = match collected.await {
            Ok(Ok(body)) => Bytes::from(body),
            Ok(Err(BodyError::TooLarge)) => {
                let error = Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "the packets are larger than maxPayload",
                );
                return Err(error.closing());
            }
            Ok(Err(BodyError::Broken)) | Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "slow_body",
                    "the body did not come",
                )
                .closing());
            }
        };
        tokio::select! {
            response = self.gate.answer(Request::from_parts(head, body)) => Ok(response.map(Into::into)),
            () = self.over() => Err(Refusal::unavailable("draining", "the server is stopping; come back", SOON)),
        }
    }

    /// Completes when the server stops and the service has had time to end its polls by itself.
    async fn over(&self) {
        self.drain.stopping().await;
        sleep(POLL_GRACE).await;
    }

    fn seat(&self, client: IpAddr) -> Result<Seat, Refusal> {
        self.sessions.take(Some(client)).map_err(|exceeded| {
            let code = match exceeded {
                Full::House => "connection_limit",
                Full::Address => "address_limit",
                Full::Rush => "handshake_rate",
            };
            Refusal::unavailable(
                code,
                "there is no room for another session; come back later",
                SOON,
            )
        })
    }

    fn open(
        &self,
        peer: &Peer,
        head: Parts,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response, Refusal> {
        let response = websocket::welcome(&head.headers)?;
        let (upgrade, permit) = upgrade
            .zip(peer.take_seat())
            .ok_or_else(websocket::no_upgrade)?;
        let mount = Arc::clone(&self.gate);
        let (guard, cancel) = (self.lines.guard(), self.cut.clone());
        let deadline = self.config.head_timeout;
        self.drain.spawn(async move {
            // hyper resolves this future when the 101 is sent, or drops it with the connection. The
            // deadline is for a peer that accepts no bytes.
            let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await else {
                return debug!("a client disconnected during its upgrade");
            };
            let Ok(parts) = upgraded.downcast::<TokioIo<Said>>() else {
                return;
            };
            let socket = parts.io.into_inner().said(&parts.read_buf);
            mount.adopt(
                Box::new(Line {
                    socket,
                    cut: cancel,
                    reading: None,
                    writing: None,
                    _seat: permit,
                    _counted: guard,
                }),
                Request::from_parts(head, ()),
            );
        });
        Ok(response)
    }
}

/// An upgraded socket. It keeps its permit and is counted until the service drops it.
struct Line {
    socket: Said,
    cut: CancellationToken,
    /// Pending cancellation futures, one each for the reading and the writing task.
    reading: Option<Cut>,
    writing: Option<Cut>,
    _seat: Seat,
    _counted: DrainGuard,
}

type Cut = Pin<Box<WaitForCancellationFutureOwned>>;

impl Line {
    /// Fails a pending write if the socket is cancelled.
    fn or_cut<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let Self {
            cut: cancel,
            writing: cancelled,
            ..
        } = self;
        let cancelled = cancelled.get_or_insert_with(|| Box::pin(cancel.clone().cancelled_owned()));
        cancelled
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(context, into);
        if read.is_ready() {
            return read;
        }
        let Self {
            cut: cancel,
            reading: cancelled,
            ..
        } = &mut *self;
        let cancelled = cancelled.get_or_insert_with(|| Box::pin(cancel.clone().cancelled_owned()));
        // After cancellation a read reports the end of the stream.
        cancelled.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.or_cut(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.socket).poll_flush(context);
        self.or_cut(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.socket).poll_shutdown(context);
        self.or_cut(context, written)
    }
}
