//! Authentication and permissions, shared by WebSockets, snapshots and event streams.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;
use warp::http::StatusCode;
use warp::http::header::ORIGIN;

use crate::error::ApiError;
use crate::request::{RequestHead, decode_segment};
use crate::{ServerState, trusted_proxies};
use latido_auth::{Decision, Principal, TokenError};
use latido_base::ident::{Channel, UserId};
use latido_stream::ChannelError;

/// The `Retry-After` of a response to a client over its limit.
const RETRY_LATER: Duration = Duration::from_secs(5);
/// The `Retry-After` after a look-up failed or while the server stops.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(2);

/// Rejects pages that are not on the list. CORS does not protect WebSockets, so the server must.
pub(super) fn check_origin(state: &ServerState, head: &RequestHead) -> Result<(), ApiError> {
    match head.headers.get(ORIGIN) {
        Some(origin)
            if !origin
                .to_str()
                .is_ok_and(|origin| state.config.origins.allows(origin)) =>
        {
            Err(ApiError::forbidden_origin())
        }
        _ => Ok(()),
    }
}

/// Verifies the request's token and returns its principal.
///
/// # Errors
/// 401 without a valid token, 503 if the token could not be checked in time.
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
    let verified = timeout(state.config.answer_timeout, state.verifier.verify(&token)).await;
    verified
        .unwrap_or(Err(TokenError::KeysUnavailable))
        .map_err(|error| {
            debug!(
                reason = error.reason(),
                peer = head.remote_addr_text(),
                "a token was refused"
            );
            let response = match error {
                _ if error.is_temporary() => {
                    ApiError::unavailable("unavailable", error.to_string(), RETRY_SOON)
                }
                _ => ApiError::unauthorized(r#"Bearer error="invalid_token""#, error.to_string()),
            };
            response.with_metric_label(error.reason())
        })
}

/// Synchronous variant of [`authenticate`]. Returns `None` if the token is missing or invalid, or
/// if checking it needs I/O.
pub(super) fn try_authenticate(state: &ServerState, head: &RequestHead) -> Option<Principal> {
    state.verifier.try_verify(&head.token()?)?.ok()
}

/// Acquires the permits that a long-lived connection needs beside its own: one of the user's, if
/// the user is known, and one of the client's address, if a trusted proxy names it.
pub(super) fn acquire_user_permits(
    state: &ServerState,
    head: &RequestHead,
    user: Option<&UserId>,
) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
    let ServerState { limits, config, .. } = state;
    let user = user
        .map(|user| limits.acquire_user(user))
        .transpose()
        .map_err(|()| {
            let error = ApiError::new(
                StatusCode::TOO_MANY_REQUESTS,
                "user_limit",
                "too many connections of this user",
            );
            error.retry_after(RETRY_LATER)
        })?;
    let proxy = head
        .remote_addr
        .map(|address| address.ip())
        .filter(|address| config.proxies.trusts(*address));
    let client = proxy.map(|proxy| {
        config
            .proxies
            .client_ip(proxy, &head.header(trusted_proxies::X_FORWARDED_FOR))
    });
    let address = client
        .map(|client| limits.acquire_address(client))
        .transpose()
        .map_err(|_| {
            ApiError::unavailable(
                "address_limit",
                "too many connections from this address",
                RETRY_LATER,
            )
        })?;
    Ok(user
        .flatten()
        .into_iter()
        .chain(address.flatten())
        .collect())
}

/// Authenticates a request for `<stream>/<key>` and checks the permission to read it. The checks
/// run in this order: stream, method, token, key, permission.
pub(super) async fn authorize_read(
    state: &ServerState,
    stream: &str,
    key: &str,
    head: &RequestHead,
    method: impl FnOnce(&RequestHead) -> Result<(), ApiError>,
) -> Result<(Channel, Principal), ApiError> {
    let (stream, key) = decode_segment(stream)
        .zip(decode_segment(key))
        .ok_or_else(ApiError::not_found)?;
    state
        .catalog
        .find(&stream)
        .ok_or_else(ApiError::not_found)?;
    method(head)?;
    let principal = authenticate(state, head).await?;
    let channel = resolve_channel(state, &stream, &key)?;
    check_permission(state, &principal, &channel).await?;
    Ok((channel, principal))
}

fn resolve_channel(state: &ServerState, stream: &str, key: &str) -> Result<Channel, ApiError> {
    state
        .catalog
        .resolve(&format!("{stream}:{key}"))
        .map_err(|error| match error {
            ChannelError::Unknown { .. } => ApiError::not_found(),
            ChannelError::InvalidKey(_) => ApiError::bad_request("invalid_key", error.to_string()),
            ChannelError::NotReady => {
                ApiError::unavailable("not_ready", error.to_string(), RETRY_SOON)
            }
        })
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
    let stream = state.catalog.get(channel.topic.stream);
    let lookup = state
        .policy
        .authorize(principal.user(), stream, &channel.topic);
    match timeout(state.config.answer_timeout, lookup).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(forbidden()),
        // The policy has already logged the reason.
        Ok(Err(_)) | Err(_) => Err(ApiError::unavailable(
            "unavailable",
            "the permission could not be looked up; ask again",
            RETRY_SOON,
        )),
    }
}
