//! `GET /ws`: every check that can fail runs before the upgrade; then the raw socket goes to a
//! shard.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;
use warp::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{HeaderMap, HeaderValue, StatusCode};

use crate::call::{Call, joined};
use crate::connection::Said;
use crate::identity::{SOON, authenticate, authenticate_at_once, check_origin, places};
use crate::refusal::Refusal;
use crate::seats::Seat;
use crate::site::{Quay, WEBSOCKETS};
use crate::{Asked, Doors, Pier, Response};
use latido_auth::Principal;
use latido_protocol::websocket::handshake::{self, BEARER, UpgradeHeaders, HandshakeError};
use latido_shard::{UpgradedConnection, ConnectionKind};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Answers a WebSocket request. The upgrade itself follows after hyper has sent the 101.
///
/// If an app extends `/ws`, it gets the requests without a token and those whose token it claims.
pub(super) async fn open(
    state: Arc<Doors>,
    head: Call,
    upgrade: Option<OnUpgrade>,
    extension: Option<Quay>,
) -> Result<Response, Refusal> {
    let in_band_upgrade = match extension {
        Some(Quay { pier: app, .. }) if head.token().is_none_or(|token| app.wants(&token)) => {
            return board(state, app, WEBSOCKETS.to_owned(), head, upgrade).await;
        }
        other => other.and_then(|extension| extension.interpreter),
    };
    may_knock(&state, &head)?;
    let principal = authenticate(&state, &head).await?;
    let response = may_enter(&state, &head)?;
    take_over(
        state,
        &head,
        upgrade,
        ConnectionKind::Native(Arc::new(principal), in_band_upgrade),
    )?;
    Ok(response)
}

/// Answers a WebSocket request for an app, which authenticates the client itself.
pub(super) async fn board(
    state: Arc<Doors>,
    app: Arc<dyn Pier>,
    path: String,
    head: Call,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, Refusal> {
    may_knock(&state, &head)?;
    let mut response = switching(&accept(&head.headers)?, offers_pair(&head))?;
    let authenticated = timeout(
        state.config.answer_timeout,
        app.board(Asked::of(&head, &path, &state.config.proxies)),
    )
    .await;
    let handler = match authenticated {
        Ok(Ok(handler)) => handler,
        Ok(Err(response)) => return Ok(response.into_response()),
        Err(_) => {
            return Err(Refusal::unavailable(
                "unavailable",
                "no answer in time; come back",
                SOON,
            ));
        }
    };
    if let Some(subprotocol) = handler.subprotocol {
        response.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    take_over(state, &head, upgrade, ConnectionKind::App(Box::new(handler)))?;
    Ok(response)
}

fn take_over(
    state: Arc<Doors>,
    head: &Call,
    upgrade: Option<OnUpgrade>,
    kind: ConnectionKind,
) -> Result<(), Refusal> {
    let principal = match &kind {
        ConnectionKind::Native(principal, _) => Some(principal),
        ConnectionKind::App(handler) => handler.principal.as_ref(),
    };
    let permits = places(&state, head, principal.map(|principal| principal.user()))?;
    let upgrade = upgrade.ok_or_else(no_upgrade)?;
    let permit = head
        .peer
        .as_ref()
        .and_then(super::connection::Peer::take_seat)
        .ok_or_else(no_upgrade)?;
    let permit = Seat(
        permits
            .into_iter()
            .fold(permit.0, |all, permit| all.with(Some(permit))),
    );
    state
        .drain
        .spawn(hand_over(Arc::clone(&state), upgrade, kind, permit));
    Ok(())
}

/// Grants a WebSocket request that needs no waiting. Returns `None` if it can't be granted that
/// way; [`upgrade`] then makes the response.
pub(super) fn open_at_once(
    state: &Doors,
    head: &Call,
    extension: Option<&Quay>,
) -> Option<(Response, Principal, Vec<OwnedSemaphorePermit>)> {
    may_knock(state, head).ok()?;
    if extension.is_some_and(|extension| {
        head.token()
            .is_none_or(|token| extension.pier.wants(&token))
    }) {
        return None;
    }
    let principal = authenticate_at_once(state, head)?;
    let response = may_enter(state, head).ok()?;
    let permits = places(state, head, Some(principal.user())).ok()?;
    Some((response, principal, permits))
}

/// Checks a request before its token: the method, the drain state and the origin.
fn may_knock(state: &Doors, head: &Call) -> Result<(), Refusal> {
    head.gets()?;
    if state.drain.is_stopping() {
        return Err(Refusal::unavailable(
            "draining",
            "the server is stopping; come back",
            SOON,
        ));
    }
    check_origin(state, head)
}

/// Checks a request after its token: readiness and handshake. Returns the 101 response.
fn may_enter(state: &Doors, head: &Call) -> Result<Response, Refusal> {
    if !state.catalog.is_ready() {
        return Err(Refusal::unavailable(
            "not_ready",
            "the database has not been reached yet; come back",
            SOON,
        ));
    }
    switching(&accept(&head.headers)?, offers_pair(head))
}

/// Returns whether the client offered the subprotocols `bearer, <token>`. Browsers fail the
/// connection unless the server selects one of the two, and it must never select the token.
fn offers_pair(head: &Call) -> bool {
    handshake::bearer_token(&head.header(SEC_WEBSOCKET_PROTOCOL)).is_some()
}

fn accept(headers: &HeaderMap) -> Result<String, Refusal> {
    let upgrade_headers = UpgradeHeaders {
        upgrade: &joined(headers, UPGRADE),
        connection: &joined(headers, CONNECTION),
        version: &joined(headers, SEC_WEBSOCKET_VERSION),
        key: &joined(headers, SEC_WEBSOCKET_KEY),
    };
    Ok(handshake::accept(&upgrade_headers)?)
}

/// Builds the 101 response, without a subprotocol, for a WebSocket that a mounted service handles.
pub(super) fn welcome(headers: &HeaderMap) -> Result<Response, Refusal> {
    switching(&accept(headers)?, false)
}

/// Builds the error for a request that is no upgrade, or one that hyper can't upgrade.
pub(super) fn no_upgrade() -> Refusal {
    Refusal::from(HandshakeError::NoUpgrade)
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        let message = error.to_string();
        match error {
            HandshakeError::Key => Self::bad_request("handshake", message),
            HandshakeError::Version => Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message).with(
                SEC_WEBSOCKET_VERSION,
                HeaderValue::from_static(handshake::VERSION),
            ),
            HandshakeError::NoUpgrade => Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message)
                .with(UPGRADE, WEBSOCKET)
                .with(CONNECTION, HeaderValue::from_static("upgrade")),
        }
    }
}

fn switching(accept: &str, bearer: bool) -> Result<Response, Refusal> {
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(accept).map_err(|_| Refusal::from(HandshakeError::Key))?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if bearer {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    Ok(response)
}

async fn hand_over(state: Arc<Doors>, upgrade: OnUpgrade, kind: ConnectionKind, permit: Seat) {
    // hyper resolves this future when the 101 is sent, or drops it with the connection. The
    // deadline is for a peer that accepts no bytes.
    let Ok(Ok(upgraded)) = timeout(state.config.head_timeout, upgrade).await else {
        debug!("a client disconnected during its upgrade");
        return;
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<Said>>() else {
        return;
    };
    match parts.io.into_inner().into_parts(&parts.read_buf) {
        Ok((socket, early)) => state.shards.add_upgraded(UpgradedConnection {
            socket,
            early_bytes: early,
            kind,
            permits: permit.0,
        }),
        Err(error) => debug!(%error, "a socket could not be taken out of the runtime"),
    }
}
