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
use warp::http::request::Parts;

use crate::body::{BodyReadError, collect_body};
use crate::config::Config;
use crate::error::{ApiError, RETRY_SOON};
use crate::mount::{MountedService, PeerAddress};
use crate::peer::Peer;
use crate::prefixed_stream::PrefixedStream;
use crate::response::Response;
use latido_admission::{ConnectionLimits, PermitSet, allows_page, plain_handshake_response};
use latido_base::drain::{Drain, DrainGuard};
use latido_protocol::websocket::handshake::HandshakeError;

/// The time from a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The time a poll may continue when the server stops.
const POLL_GRACE: Duration = Duration::from_millis(500);

/// The time an upgraded socket may take to end after it was cancelled.
const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// A mounted service of one listener, with its open sessions and sockets.
pub(super) struct MountHandler {
    mount: Arc<dyn MountedService>,
    config: Config,
    /// The limit on sessions. It equals that on connections but is counted apart, since a polling
    /// session has no connection of its own.
    sessions: ConnectionLimits,
    /// Counts the upgraded sockets until they are closed.
    open_upgrades: Drain,
    /// Cancels the sockets that are still open when the drain's grace ends.
    cancel: CancellationToken,
    drain: Drain,
}

impl MountHandler {
    pub(super) fn new(mount: Arc<dyn MountedService>, config: &Config, drain: &Drain) -> Self {
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
                open_upgrades.drain(CANCEL_GRACE).await;
            }
        });
        Self {
            mount,
            config: config.for_mount(),
            sessions: ConnectionLimits::new(&config.limits()),
            open_upgrades,
            cancel,
            drain: drain.clone(),
        }
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.mount.matches(path)
    }

    /// Answers a request to a path of the mounted service.
    pub(super) async fn handle(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<Response, ApiError> {
        if self.drain.is_stopping() {
            return Err(ApiError::unavailable(
                "draining",
                "the server is stopping; come back",
                RETRY_SOON,
            ));
        }
        let (mut head, body) = request.into_parts();
        // CORS does not protect a WebSocket, nor does it prevent opening a session.
        if !allows_page(&self.config.origins, &head.headers) {
            return Err(ApiError::forbidden_origin());
        }
        let kind = match self.mount.classify(&head) {
            Ok(kind) => kind,
            Err(response) => return Ok(response.map(Into::into)),
        };
        let upgrade = head.extensions.remove::<OnUpgrade>();
        head.extensions.clear();
        let client = self
            .config
            .proxies
            .client_addr(peer.address(), &head.headers);
        head.extensions.insert(PeerAddress(client));
        if kind.opens_session {
            // The permit stays with the session, which keeps the head of the request that opened
            // it.
            head.extensions
                .insert(Arc::new(self.acquire_session(client.ip())?));
            if let Err(response) = self.mount.admit(&mut head) {
                return Ok(response.map(Into::into));
            }
        }
        if kind.is_websocket {
            return self.upgrade(peer, head, upgrade);
        }
        let frames = body.into_data_stream();
        let limit = self.mount.body_limit(&head);
        let collected = timeout(BODY_TIMEOUT, collect_body(frames, limit));
        let body = match collected.await {
            Ok(Ok(body)) => Bytes::from(body),
            Ok(Err(BodyReadError::TooLarge)) => {
                let error = ApiError::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "the packets are larger than maxPayload",
                );
                return Err(error.close_connection());
            }
            Ok(Err(BodyReadError::Incomplete)) | Err(_) => {
                return Err(ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "slow_body",
                    "the body did not come",
                )
                .close_connection());
            }
        };
        tokio::select! {
            response = self.mount.handle(Request::from_parts(head, body)) => Ok(response.map(Into::into)),
            () = self.wait_until_drained() => Err(ApiError::unavailable("draining", "the server is stopping; come back", RETRY_SOON)),
        }
    }

    /// Completes when the server stops and the service has had time to end its polls by itself.
    async fn wait_until_drained(&self) {
        self.drain.stopping().await;
        sleep(POLL_GRACE).await;
    }

    fn acquire_session(&self, client: IpAddr) -> Result<PermitSet, ApiError> {
        self.sessions.acquire(Some(client)).map_err(|exceeded| {
            ApiError::unavailable(
                exceeded.label(),
                "there is no room for another session; come back later",
                RETRY_SOON,
            )
        })
    }

    fn upgrade(
        &self,
        peer: &Peer,
        head: Parts,
        upgrade: Option<OnUpgrade>,
    ) -> Result<Response, ApiError> {
        let response = plain_handshake_response(&head.headers)?.map(|()| "".into());
        let (upgrade, permit) = upgrade
            .zip(peer.take_permit())
            .ok_or(HandshakeError::NoUpgrade)?;
        let mount = Arc::clone(&self.mount);
        let (guard, cancel) = (self.open_upgrades.guard(), self.cancel.clone());
        let deadline = self.config.head_timeout;
        self.drain.spawn(async move {
            // hyper resolves this future when the 101 is sent, or drops it with the connection. The
            // deadline is for a peer that accepts no bytes.
            let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await else {
                return debug!("a client disconnected during its upgrade");
            };
            let Ok(parts) = upgraded.downcast::<TokioIo<PrefixedStream>>() else {
                return;
            };
            let socket = parts.io.into_inner().with_prefix(&parts.read_buf);
            mount.take_upgraded(
                Box::new(UpgradedStream {
                    socket,
                    cancel,
                    read_cancelled: None,
                    write_cancelled: None,
                    _permit: permit,
                    _guard: guard,
                }),
                Request::from_parts(head, ()),
            );
        });
        Ok(response)
    }
}

/// An upgraded socket. It keeps its permit and is counted until the service drops it.
struct UpgradedStream {
    socket: PrefixedStream,
    cancel: CancellationToken,
    /// Pending cancellation futures, one each for the reading and the writing task.
    read_cancelled: Option<Cancelled>,
    write_cancelled: Option<Cancelled>,
    _permit: PermitSet,
    _guard: DrainGuard,
}

type Cancelled = Pin<Box<WaitForCancellationFutureOwned>>;

impl UpgradedStream {
    /// Fails a pending write if the socket is cancelled.
    fn or_cancelled<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_cancelled = None;
            return written;
        }
        let Self {
            cancel,
            write_cancelled: cancelled,
            ..
        } = self;
        let cancelled = cancelled.get_or_insert_with(|| Box::pin(cancel.clone().cancelled_owned()));
        cancelled
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl fmt::Debug for UpgradedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl AsyncRead for UpgradedStream {
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
            cancel,
            read_cancelled: cancelled,
            ..
        } = &mut *self;
        let cancelled = cancelled.get_or_insert_with(|| Box::pin(cancel.clone().cancelled_owned()));
        // After cancellation a read reports the end of the stream.
        cancelled.as_mut().poll(context).map(Ok)
    }
}

impl AsyncWrite for UpgradedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.or_cancelled(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.socket).poll_flush(context);
        self.or_cancelled(context, written)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = Pin::new(&mut self.socket).poll_shutdown(context);
        self.or_cancelled(context, written)
    }
}
