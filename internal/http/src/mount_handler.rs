//! Requests to a mounted service: the limits, origins, bodies and upgrades that apply to every
//! service.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::{sleep, timeout};
use warp::http::StatusCode;
use warp::http::request::Parts;

use crate::body::{BodyReadError, collect_body};
use crate::config::Config;
use crate::error::{ApiError, RETRY_SOON};
use crate::mount::{MountedService, PeerAddress, RequestKind};
use crate::peer::Peer;
use crate::response::Response;
use crate::websocket::hand_over;
use latido_admission::{
    ConnectionLimits, PermitSet, PlainRequest, allows_page, plain_handshake_response, write_head,
};
use latido_base::drain::Drain;
use latido_protocol::websocket::handshake::HandshakeError;
use latido_shard::{ConnectionKind, MountUpgrade, MountedSocket, Shards};

/// The time from a request's head to the end of its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// The time a poll may continue when the server stops.
const POLL_GRACE: Duration = Duration::from_millis(500);

/// A mounted service of one listener, with its open sessions.
pub(super) struct MountHandler {
    mount: Arc<dyn MountedService>,
    config: Config,
    /// The limit on sessions. It equals that on connections but is counted apart, since a polling
    /// session has no connection of its own.
    sessions: ConnectionLimits,
    /// The shards that own the upgraded sockets.
    shards: Arc<Shards>,
    drain: Drain,
}

impl MountHandler {
    pub(super) fn new(
        mount: Arc<dyn MountedService>,
        config: &Config,
        shards: Arc<Shards>,
        drain: &Drain,
    ) -> Self {
        Self {
            mount,
            config: config.for_mount(),
            sessions: ConnectionLimits::new(&config.limits()),
            shards,
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
        self.prepare(&mut head, peer.address(), kind)?;
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

    /// Adds the address of the client, and the permit of a new session, to a request's head.
    fn prepare(
        &self,
        head: &mut Parts,
        address: SocketAddr,
        kind: RequestKind,
    ) -> Result<(), ApiError> {
        head.extensions.clear();
        let client = self.config.proxies.client_addr(address, &head.headers);
        head.extensions.insert(PeerAddress(client));
        if kind.opens_session {
            // The permit stays with the session.
            head.extensions
                .insert(Arc::new(self.acquire_session(client.ip())?));
        }
        Ok(())
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
        let spec = match self.mount.upgrade(head) {
            Ok(spec) => spec,
            Err(response) => return Ok(response.map(Into::into)),
        };
        let (upgrade, permit) = upgrade
            .zip(peer.take_permit())
            .ok_or(HandshakeError::NoUpgrade)?;
        self.drain.spawn(hand_over(
            Arc::clone(&self.shards),
            self.config.head_timeout,
            upgrade,
            ConnectionKind::App(Box::new(spec)),
            permit,
        ));
        Ok(response)
    }
}

/// Most WebSocket requests need no waiting. This path only grants; `MountHandler::handle` makes all
/// other responses, by the same rules.
impl MountUpgrade for MountHandler {
    fn try_upgrade(&self, received: &[u8], address: SocketAddr) -> Option<MountedSocket> {
        let request = PlainRequest::parse(received, |path| self.mount.matches(path))?;
        if self.drain.is_stopping() || !allows_page(&self.config.origins, &request.headers) {
            return None;
        }
        let mut head = Request::new(()).into_parts().0;
        head.uri = request.target.into();
        head.headers = request.headers;
        let kind = self.mount.classify(&head).ok()?;
        if !kind.is_websocket {
            return None;
        }
        let response = write_head(&plain_handshake_response(&head.headers).ok()?);
        self.prepare(&mut head, address, kind).ok()?;
        Some(MountedSocket {
            spec: self.mount.upgrade(head).ok()?,
            response,
            request_bytes: request.request_bytes,
        })
    }
}
