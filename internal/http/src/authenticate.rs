//! Authentication and permissions, shared by WebSockets, snapshots and event streams.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::timeout;
use tracing::debug;
use warp::http::StatusCode;

use crate::error::{ApiError, RETRY_SOON};
use crate::history::HistoryTurns;
use crate::state::ServerState;
use latido_admission::{MethodNotAllowed, RequestHead};
use latido_auth::{Decision, Principal, TokenError, TokenSender};
use latido_base::ident::Channel;
use latido_hub::AsyncSubscriber;
use latido_stream::{ChannelError, PermissionLookupError};

/// The text for every token that is not accepted.
const INVALID_TOKEN: &str =
    "the token is not valid; expected one that is signed, unexpired and meant for this server";

/// Verifies the request's token and returns its principal.
///
/// # Errors
/// 401 without a valid token, 429 if the address sent too many invalid ones that are costly to
/// check, 503 if the token could not be checked in time.
pub(super) async fn authenticate(
    state: &ServerState,
    head: &RequestHead,
) -> Result<Principal, ApiError> {
    let Some(token) = head.token() else {
        let response = ApiError::unauthorized(
            "Bearer",
            "expected a token: Authorization: Bearer, or ?token=",
        );
        return Err(response.with_metric_label(TokenError::Missing.reason()));
    };
    let sender = TokenSender::at(client_ip(state, head));
    let verifying = state.verifier.verify(&token, &sender);
    let verified = timeout(state.config.answer_timeout, verifying).await;
    let verified = verified.unwrap_or(Err(TokenError::KeysUnavailable));
    verified.map_err(|error| {
        debug!(
            reason = error.reason(),
            peer = head.remote_addr_text(),
            "a token was refused"
        );
        let response = if error == TokenError::TooManyInvalid {
            ApiError::too_many("token_rate", error.to_string())
        } else if error.is_temporary() {
            ApiError::unavailable("unavailable", error.to_string(), RETRY_SOON)
        } else {
            // The response does not name the reason: it would help to forge a token. The log and
            // the metric do.
            ApiError::unauthorized(r#"Bearer error="invalid_token""#, INVALID_TOKEN)
        };
        response.with_metric_label(error.reason())
    })
}

/// Returns the client's address, as a trusted proxy names it.
fn client_ip(state: &ServerState, head: &RequestHead) -> Option<IpAddr> {
    let peer = head.remote_addr?;
    let client = state.config.proxies.client_addr(peer, &head.headers);
    Some(client.ip())
}

/// A request of a known user for the values of a channel.
pub(super) struct ReadRequest {
    /// The name of the channel.
    pub(super) channel: String,
    pub(super) principal: Arc<Principal>,
    /// Set if the client asks for the history.
    pub(super) history: Option<HistoryTurns>,
}

impl ReadRequest {
    /// Resolves the channel and checks the permission to read it. A client that asks again until its
    /// stream works keeps the database awake.
    pub(super) async fn authorize(&self, state: &ServerState) -> Result<Channel, ApiError> {
        let authorized = async {
            let channel = resolve_channel(state, &self.channel)?;
            check_permission(state, &self.principal, &channel).await?;
            Ok(channel)
        };
        let authorized: Result<_, ApiError> = authorized.await;
        if authorized.as_ref().is_err_and(ApiError::is_temporary) {
            state.engine.wake_database();
        }
        authorized
    }
}

/// Subscribes to a channel that the client may read.
///
/// # Errors
/// 429 if the channel's key has too many topics.
pub(super) fn subscribe(
    state: &ServerState,
    channel: &Channel,
) -> Result<AsyncSubscriber, ApiError> {
    state.hub.subscribe_async(channel).map_err(|limit| {
        state.metrics.param_sets_refused.inc();
        ApiError::too_many("too_many_channels", limit.to_string())
    })
}

/// Authenticates a request for channels. The checks run in this order: method, token, the user's
/// rate of requests. [`ReadRequest::authorize`] checks the rest.
pub(super) async fn authenticate_read(
    state: &ServerState,
    head: &RequestHead,
    method: impl FnOnce(&RequestHead) -> Result<(), MethodNotAllowed>,
) -> Result<Arc<Principal>, ApiError> {
    method(head)?;
    let principal = authenticate(state, head).await?;
    if !state.rules.limits.try_take_request(principal.user()) {
        return Err(ApiError::too_many(
            "request_rate",
            "too many requests of this user",
        ));
    }
    Ok(Arc::new(principal))
}

fn resolve_channel(state: &ServerState, name: &str) -> Result<Channel, ApiError> {
    let channel = state.catalog.resolve(name);
    channel.map_err(|error| channel_error(&error))
}

/// Returns the answer for a channel that cannot be read.
pub(super) fn channel_error(error: &ChannelError) -> ApiError {
    let message = error.to_string();
    match error {
        ChannelError::Unknown { .. } => {
            ApiError::new(StatusCode::NOT_FOUND, "unknown_channel", message)
        }
        ChannelError::InvalidKey(_) => ApiError::bad_request("invalid_key", message),
        ChannelError::NotReady => ApiError::unavailable("not_ready", message, RETRY_SOON),
        ChannelError::Broken => ApiError::unavailable("unavailable", message, RETRY_SOON),
    }
}

/// Checks the principal's permission to read the channel.
async fn check_permission(
    state: &ServerState,
    principal: &Principal,
    channel: &Channel,
) -> Result<(), ApiError> {
    let forbidden = || {
        ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this token may not read that",
        )
    };
    match state.policy.decide(principal, &state.catalog, channel) {
        Decision::Allowed => return Ok(()),
        Decision::Forbidden => return Err(forbidden()),
        Decision::NeedsLookup => {}
    }
    let id = channel.topic.stream;
    let stream = state.catalog.get(id);
    let subject = principal.subject(stream);
    let lookup = state.policy.authorize(&subject, stream, &channel.topic);
    match timeout(state.config.answer_timeout, lookup).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(forbidden()),
        Ok(Err(PermissionLookupError::Broken(problem))) => {
            state.catalog.status(id).set_permissions_broken(problem);
            Err(channel_error(&ChannelError::Broken))
        }
        // The policy has already logged the reason.
        Ok(Err(PermissionLookupError::Unavailable(_))) | Err(_) => Err(ApiError::unavailable(
            "unavailable",
            "the permission could not be looked up; ask again",
            RETRY_SOON,
        )),
    }
}
