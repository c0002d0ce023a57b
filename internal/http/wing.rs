//! Requests that a gate answers: the limits, origins, bodies and upgrades that are ours whoever answers.

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

use crate::drain::{Counted, Drain};
use crate::http::body::{BodyError, collect};
use crate::http::connection::{Peer, Said};
use crate::http::identity::SOON;
use crate::http::refusal::Refusal;
use crate::http::seats::{Full, Seat};
use crate::http::{Config, Response, Seats, websocket};
use crate::socketio::{Gate, PeerAddress};

/// From a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a poll may go on when the server stops.
const POLL_GRACE: Duration = Duration::from_millis(500);
/// How long a line that was cut may take to notice.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// A gate of one listener, and what is open there.
pub(super) struct Wing {
    gate: Arc<dyn Gate>,
    config: Config,
    /// Sessions there may be: as many as connections, but counted by themselves, since a session that polls has no connection of its own.
    sessions: Seats,
    /// Sockets that were upgraded, until they are gone.
    lines: Drain,
    /// Cuts those that outlast the server's patience.
    cut: CancellationToken,
    drain: Drain,
}

impl Wing {
    pub(super) fn new(gate: Arc<dyn Gate>, config: &Config, drain: &Drain) -> Self {
        let (lines, cut) = (Drain::new(), CancellationToken::new());
        let watch = (
            lines.clone(),
            cut.clone(),
            drain.clone(),
            config.drain_grace,
        );
        drain.spawn(async move {
            let (lines, cut, drain, grace) = watch;
            drain.stopping().await;
            // Those that the gate does not end by itself, because nobody has come in through it yet, or because they take nothing.
            let left = lines.finish(grace / 2).await;
            if left > 0 {
                debug!(
                    left,
                    "upgraded connections outlasted the drain and were cut"
                );
                cut.cancel();
                lines.finish(CUT_GRACE).await;
            }
        });
        Self {
            gate,
            config: config.clone(),
            sessions: Seats::new(config),
            lines,
            cut,
            drain: drain.clone(),
        }
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.gate.has(path)
    }

    /// Answers a request of a path that is the gate's.
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
        // CORS does not protect a WebSocket, nor a session against being opened.
        if head.headers.get(ORIGIN).is_some_and(|origin| {
            !origin
                .to_str()
                .is_ok_and(|origin| self.config.origins.allow(origin))
        }) {
            return Err(Refusal::origin());
        }
        let ask = match self.gate.judge(&head) {
            Ok(ask) => ask,
            Err(answer) => return Ok(answer.map(Into::into)),
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        head.extensions.clear();
        let caller = self.config.proxies.caller(peer.address(), &head.headers);
        head.extensions.insert(PeerAddress(caller));
        if ask.opens {
            // It stays with the session, which keeps the head of the request that opened it.
            head.extensions.insert(Arc::new(self.seat(caller.ip())?));
        }
        if ask.websocket {
            return self.open(peer, head, upgrade);
        }
        let frames = body.into_data_stream();
        let collected = timeout(BODY_TIMEOUT, collect(frames, self.gate.body_limit()));
        let body = match collected.await {
            Ok(Ok(body)) => Bytes::from(body),
            Ok(Err(BodyError::TooLarge)) => {
                let refusal = Refusal::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "the packets are larger than maxPayload",
                );
                return Err(refusal.closing());
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
            answer = self.gate.answer(Request::from_parts(head, body)) => Ok(answer.map(Into::into)),
            () = self.over() => Err(Refusal::unavailable("draining", "the server is stopping; come back", SOON)),
        }
    }

    /// The server stops, and the gate has had time to end its polls by itself.
    async fn over(&self) {
        self.drain.stopping().await;
        sleep(POLL_GRACE).await;
    }

    fn seat(&self, caller: IpAddr) -> Result<Seat, Refusal> {
        self.sessions.take(Some(caller)).map_err(|full| {
            let code = match full {
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
        let (upgrade, seat) = upgrade
            .zip(peer.take_seat())
            .ok_or_else(websocket::no_upgrade)?;
        let (gate, counted, cut) = (Arc::clone(&self.gate), self.lines.count(), self.cut.clone());
        let patience = self.config.head_timeout;
        self.drain.spawn(async move {
            // hyper resolves it when the 101 is sent, or drops it with the connection; the deadline is for a peer that takes no bytes.
            let Ok(Ok(upgraded)) = timeout(patience, upgrade).await else {
                return debug!("a client left during its upgrade");
            };
            let Ok(parts) = upgraded.downcast::<TokioIo<Said>>() else {
                return;
            };
            let socket = parts.io.into_inner().said(&parts.read_buf);
            gate.adopt(
                Box::new(Line {
                    socket,
                    cut,
                    reading: None,
                    writing: None,
                    _seat: seat,
                    _counted: counted,
                }),
                Request::from_parts(head, ()),
            );
        });
        Ok(response)
    }
}

/// An upgraded socket. It keeps its seat and is counted until whoever took it lets it go.
struct Line {
    socket: Said,
    cut: CancellationToken,
    /// Watched while something is waited for; each by the task that waits.
    reading: Option<Cut>,
    writing: Option<Cut>,
    _seat: Seat,
    _counted: Counted,
}

type Cut = Pin<Box<WaitForCancellationFutureOwned>>;

impl Line {
    /// What a write that has to wait waits for as well.
    fn or_cut<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let Self { cut, writing, .. } = self;
        let writing = writing.get_or_insert_with(|| Box::pin(cut.clone().cancelled_owned()));
        writing
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
        let Self { cut, reading, .. } = &mut *self;
        let reading = reading.get_or_insert_with(|| Box::pin(cut.clone().cancelled_owned()));
        // Nothing more comes: the end.
        reading.as_mut().poll(context).map(Ok)
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
