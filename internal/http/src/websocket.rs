//! `GET /ws`: every check that can fail runs before the upgrade; then the raw socket goes to a
//! shard.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tracing::debug;
use warp::http::HeaderValue;
use warp::http::header::SEC_WEBSOCKET_PROTOCOL;

use crate::app_message::AppRequest;
use crate::app_mounts::{WebSocketApp, WsExtension};
use crate::authenticate::authenticate;
use crate::error::{ApiError, RETRY_SOON};
use crate::peer::Peer;
use crate::prefixed_stream::PrefixedStream;
use crate::response::Response;
use crate::state::ServerState;
use latido_admission::{PermitSet, RequestHead, WS_PATH, handshake_response};
use latido_protocol::websocket::handshake::HandshakeError;
use latido_shard::{ConnectionKind, Shards, UpgradedConnection};

/// The connection of a request that may be upgraded.
#[derive(Default)]
pub(super) struct PendingUpgrade {
    /// The remote end, with the connection's permits.
    pub(super) peer: Option<Peer>,
    /// hyper's half of the upgrade. `None` if the request asks for none.
    pub(super) upgrade: Option<OnUpgrade>,
}

/// Answers a WebSocket request. The upgrade itself follows after hyper has sent the 101.
///
/// If an app extends `/ws`, it gets the requests without a token and those whose token it claims.
pub(super) async fn upgrade(
    state: Arc<ServerState>,
    head: RequestHead,
    pending: PendingUpgrade,
    extension: Option<WsExtension>,
) -> Result<Response, ApiError> {
    let in_band_upgrade = match extension {
        Some(WsExtension { app, .. })
            if head.token().is_none_or(|token| app.claims_token(&token)) =>
        {
            return upgrade_app(state, app, WS_PATH.to_owned(), head, pending).await;
        }
        other => other.and_then(|extension| extension.in_band_upgrade),
    };
    state.rules.check_request(&head)?;
    let principal = authenticate(&state, &head).await?;
    let response = state.rules.check_handshake(&head)?.map(|()| "".into());
    schedule_handover(
        state,
        &head,
        pending,
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
    pending: PendingUpgrade,
) -> Result<Response, ApiError> {
    if app.checks_origin() {
        state.rules.check_request(&head)?;
    } else {
        state.rules.check_availability(&head)?;
    }
    let mut response = handshake_response(&head.headers)?.map(|()| "".into());
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
        pending,
        ConnectionKind::App(Box::new(handler)),
    )?;
    Ok(response)
}

fn schedule_handover(
    state: Arc<ServerState>,
    head: &RequestHead,
    PendingUpgrade { peer, upgrade }: PendingUpgrade,
    kind: ConnectionKind,
) -> Result<(), ApiError> {
    let principal = match &kind {
        ConnectionKind::Native(principal, _) => Some(principal),
        ConnectionKind::App(handler) => handler.principal.as_ref(),
    };
    let permits = state
        .rules
        .acquire_user_permits(head, principal.map(|principal| principal.user()))?;
    let upgrade = upgrade.ok_or(HandshakeError::NoUpgrade)?;
    let permit = peer
        .and_then(|peer| peer.take_permit())
        .ok_or(HandshakeError::NoUpgrade)?;
    let permit = permits
        .into_iter()
        .fold(permit, |all, permit| all.with(Some(permit)));
    let (shards, deadline) = (Arc::clone(&state.shards), state.config.head_timeout);
    state
        .drain
        .spawn(hand_over(shards, deadline, upgrade, kind, permit));
    Ok(())
}

/// Hands an upgraded connection to a shard, once hyper has sent the 101.
pub(super) async fn hand_over(
    shards: Arc<Shards>,
    deadline: Duration,
    upgrade: OnUpgrade,
    kind: ConnectionKind,
    permit: PermitSet,
) {
    // hyper resolves this future when the 101 is sent, or drops it with the connection. The
    // deadline is for a peer that accepts no bytes.
    let Ok(Ok(upgraded)) = timeout(deadline, upgrade).await else {
        debug!("a client disconnected during its upgrade");
        return;
    };
    let Ok(parts) = upgraded.downcast::<TokioIo<PrefixedStream>>() else {
        return;
    };
    match parts.io.into_inner().into_parts(&parts.read_buf) {
        Ok((socket, early)) => shards.add_upgraded(UpgradedConnection {
            socket,
            early_bytes: early,
            kind,
            permits: permit,
        }),
        Err(error) => debug!(%error, "a socket could not be taken out of the runtime"),
    }
}
