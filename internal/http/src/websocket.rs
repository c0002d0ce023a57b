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

use crate::app_http::{WS_PATH, WsExtension};
use crate::authenticate::{
    RETRY_SOON, acquire_user_permits, authenticate, check_origin, try_authenticate,
};
use crate::connection_limits::HttpPermit;
use crate::error::ApiError;
use crate::request::{RequestHead, joined_header};
use crate::server::PrefixedStream;
use crate::{AppRequest, Response, ServerState, WebSocketApp};
use latido_auth::Principal;
use latido_protocol::websocket::handshake::{self, BEARER, HandshakeError, UpgradeHeaders};
use latido_shard::{ConnectionKind, UpgradedConnection};

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Answers a WebSocket request. The upgrade itself follows after hyper has sent the 101.
///
/// If an app extends `/ws`, it gets the requests without a token and those whose token it claims.
pub(super) async fn upgrade(
    state: Arc<ServerState>,
    head: RequestHead,
    upgrade: Option<OnUpgrade>,
    extension: Option<WsExtension>,
) -> Result<Response, ApiError> {
    let in_band_upgrade = match extension {
        Some(WsExtension { app, .. })
            if head.token().is_none_or(|token| app.claims_token(&token)) =>
        {
            return upgrade_app(state, app, WS_PATH.to_owned(), head, upgrade).await;
        }
        other => other.and_then(|extension| extension.in_band_upgrade),
    };
    check_request(&state, &head)?;
    let principal = authenticate(&state, &head).await?;
    let response = check_handshake(&state, &head)?;
    schedule_handover(
        state,
        &head,
        upgrade,
        ConnectionKind::Native(Arc::new(principal), in_band_upgrade),
    )?;
    Ok(response)
}

/// Answers a WebSocket request for an app, which authenticates the client itself.
pub(super) async fn upgrade_app(
    state: Arc<ServerState>,
    app: Arc<dyn WebSocketApp>,
    path: String,
    head: RequestHead,
    upgrade: Option<OnUpgrade>,
) -> Result<Response, ApiError> {
    check_request(&state, &head)?;
    let mut response = switching_protocols(&accept_key(&head.headers)?, offers_bearer(&head))?;
    let authenticated = timeout(
        state.config.answer_timeout,
        app.upgrade(AppRequest::from_head(&head, &path, &state.config.proxies)),
    )
    .await;
    let handler = match authenticated {
        Ok(Ok(handler)) => handler,
        Ok(Err(response)) => return Ok(response.into_response()),
        Err(_) => {
            return Err(ApiError::unavailable(
                "unavailable",
                "no answer in time; come back",
                RETRY_SOON,
            ));
        }
    };
    if let Some(subprotocol) = handler.subprotocol {
        response.headers_mut().insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(subprotocol),
        );
    }
    schedule_handover(
        state,
        &head,
        upgrade,
        ConnectionKind::App(Box::new(handler)),
    )?;
    Ok(response)
}

fn schedule_handover(
    state: Arc<ServerState>,
    head: &RequestHead,
    upgrade: Option<OnUpgrade>,
    kind: ConnectionKind,
) -> Result<(), ApiError> {
    let principal = match &kind {
        ConnectionKind::Native(principal, _) => Some(principal),
        ConnectionKind::App(handler) => handler.principal.as_ref(),
    };
    let permits = acquire_user_permits(&state, head, principal.map(|principal| principal.user()))?;
    let upgrade = upgrade.ok_or_else(no_upgrade)?;
    let permit = head
        .peer
        .as_ref()
        .and_then(super::server::Peer::take_permit)
        .ok_or_else(no_upgrade)?;
    let permit = HttpPermit(
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
pub(super) fn try_handshake(
    state: &ServerState,
    head: &RequestHead,
    extension: Option<&WsExtension>,
) -> Option<(Response, Principal, Vec<OwnedSemaphorePermit>)> {
    check_request(state, head).ok()?;
    if extension.is_some_and(|extension| {
        head.token()
            .is_none_or(|token| extension.app.claims_token(&token))
    }) {
        return None;
    }
    let principal = try_authenticate(state, head)?;
    let response = check_handshake(state, head).ok()?;
    let permits = acquire_user_permits(state, head, Some(principal.user())).ok()?;
    Some((response, principal, permits))
}

/// Checks a request before its token: the method, the drain state and the origin.
fn check_request(state: &ServerState, head: &RequestHead) -> Result<(), ApiError> {
    head.require_get()?;
    if state.drain.is_stopping() {
        return Err(ApiError::unavailable(
            "draining",
            "the server is stopping; come back",
            RETRY_SOON,
        ));
    }
    check_origin(state, head)
}

/// Checks a request after its token: readiness and handshake. Returns the 101 response.
fn check_handshake(state: &ServerState, head: &RequestHead) -> Result<Response, ApiError> {
    if !state.catalog.is_ready() {
        return Err(ApiError::unavailable(
            "not_ready",
            "the database has not been reached yet; come back",
            RETRY_SOON,
        ));
    }
    switching_protocols(&accept_key(&head.headers)?, offers_bearer(head))
}

/// Returns whether the client offered the subprotocols `bearer, <token>`. Browsers fail the
/// connection unless the server selects one of the two, and it must never select the token.
fn offers_bearer(head: &RequestHead) -> bool {
    handshake::bearer_token(&head.header(SEC_WEBSOCKET_PROTOCOL)).is_some()
}

fn accept_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let upgrade_headers = UpgradeHeaders {
        upgrade: &joined_header(headers, UPGRADE),
        connection: &joined_header(headers, CONNECTION),
        version: &joined_header(headers, SEC_WEBSOCKET_VERSION),
        key: &joined_header(headers, SEC_WEBSOCKET_KEY),
    };
    Ok(handshake::accept(&upgrade_headers)?)
}

/// Builds the 101 response, without a subprotocol, for a WebSocket that a mounted service handles.
pub(super) fn handshake_response(headers: &HeaderMap) -> Result<Response, ApiError> {
    switching_protocols(&accept_key(headers)?, false)
}

/// Builds the error for a request that is no upgrade, or one that hyper can't upgrade.
pub(super) fn no_upgrade() -> ApiError {
    ApiError::from(HandshakeError::NoUpgrade)
}

impl From<HandshakeError> for ApiError {
    fn from(error: HandshakeError) -> Self {
        let message = error.to_string();
        match error {
            HandshakeError::Key => Self::bad_request("handshake", message),
            HandshakeError::Version => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message).with_header(
                    SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static(handshake::VERSION),
                )
            }
            HandshakeError::NoUpgrade => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "handshake", message)
                    .with_header(UPGRADE, WEBSOCKET)
                    .with_header(CONNECTION, HeaderValue::from_static("upgrade"))
            }
        }
    }
}

fn switching_protocols(accept: &str, bearer: bool) -> Result<Response, ApiError> {
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, WEBSOCKET);
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_str(accept).map_err(|_| ApiError::from(HandshakeError::Key))?;
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if bearer {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(BEARER));
    }
    Ok(response)
}

async fn hand_over(
    state: Arc<ServerState>,
    upgrade: OnUpgrade,
    kind: ConnectionKind,
    permit: HttpPermit,
) {
    // hyper resolves this future when the 101 is sent, or drops it with the connection. The
    // deadline is for a peer that accepts no bytes.
    let Ok(Ok(upgraded)) = timeout(state.config.head_timeout, upgrade).await else {
        debug!("a client disconnected during its upgrade");
        return;
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<PrefixedStream>>() else {
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
