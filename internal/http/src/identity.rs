//! Authentication and permissions, shared by WebSockets, snapshots and event streams.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;
use warp::http::StatusCode;
use warp::http::header::ORIGIN;

use crate::call::{Call, segment};
use crate::refusal::Refusal;
use crate::{Doors, proxies};
use latido_auth::{Decision, Principal, TokenError};
use latido_base::ident::{Channel, UserId};
use latido_stream::ChannelError;

/// The `Retry-After` of a response to a client over its limit.
const LATER: Duration = Duration::from_secs(5);
/// The `Retry-After` after a look-up failed or while the server stops.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// Rejects pages that are not on the list. CORS does not protect WebSockets, so the server must.
pub(super) fn check_origin(state: &Doors, head: &Call) -> Result<(), Refusal> {
    match head.headers.get(ORIGIN) {
        Some(origin)
            if !origin
                .to_str()
                .is_ok_and(|origin| state.config.origins.allow(origin)) =>
        {
            Err(Refusal::origin())
        }
        _ => Ok(()),
    }
}

/// Verifies the request's token and returns its principal.
///
/// # Errors
/// 401 without a valid token, 503 if the token could not be checked in time.
pub(super) async fn authenticate(state: &Doors, head: &Call) -> Result<Principal, Refusal> {
    let Some(token) = head.token() else {
        let response = Refusal::unauthorized(
            "Bearer",
            "expected a token: Authorization: Bearer, or ?token=",
        );
        return Err(response.counted_as(TokenError::Missing.reason()));
    };
    let verified = timeout(state.config.answer_timeout, state.verifier.verify(&token)).await;
    verified
        .unwrap_or(Err(TokenError::KeysUnavailable))
        .map_err(|error| {
            debug!(
                reason = error.reason(),
                peer = head.peer_address(),
                "a token was refused"
            );
            let response = match error {
                _ if error.is_temporary() => {
                    Refusal::unavailable("unavailable", error.to_string(), SOON)
                }
                _ => Refusal::unauthorized(r#"Bearer error="invalid_token""#, error.to_string()),
            };
            response.counted_as(error.reason())
        })
}

/// Synchronous variant of [`authenticate`]. Returns `None` if the token is missing or invalid, or
/// if checking it needs I/O.
pub(super) fn authenticate_at_once(state: &Doors, head: &Call) -> Option<Principal> {
    state.verifier.try_verify(&head.token()?)?.ok()
}

/// Acquires the permits that a long-lived connection needs beside its own: one of the user's, if
/// the user is known, and one of the client's address, if a trusted proxy names it.
pub(super) fn places(
    state: &Doors,
    head: &Call,
    user: Option<&UserId>,
) -> Result<Vec<OwnedSemaphorePermit>, Refusal> {
    let Doors {
        seats: limits,
        config,
        ..
    } = state;
    let user = user
        .map(|user| limits.take_user(user))
        .transpose()
        .map_err(|()| {
            let error = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "user_limit",
                "too many connections of this user",
            );
            error.retry_after(LATER)
        })?;
    let proxy = head
        .address
        .map(|address| address.ip())
        .filter(|address| config.proxies.trust(*address));
    let client = proxy.map(|proxy| {
        config
            .proxies
            .client(proxy, &head.header(proxies::FORWARDED))
    });
    let address = client
        .map(|client| limits.take_address(client))
        .transpose()
        .map_err(|_| {
            Refusal::unavailable(
                "address_limit",
                "too many connections from this address",
                LATER,
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
pub(super) async fn visit(
    state: &Doors,
    stream: &str,
    key: &str,
    head: &Call,
    method: impl FnOnce(&Call) -> Result<(), Refusal>,
) -> Result<(Channel, Principal), Refusal> {
    let (stream, key) = segment(stream)
        .zip(segment(key))
        .ok_or_else(Refusal::not_found)?;
    state.catalog.find(&stream).ok_or_else(Refusal::not_found)?;
    method(head)?;
    let principal = authenticate(state, head).await?;
    let channel = resolve(state, &stream, &key)?;
    authorize(state, &principal, &channel).await?;
    Ok((channel, principal))
}

fn resolve(state: &Doors, stream: &str, key: &str) -> Result<Channel, Refusal> {
    state
        .catalog
        .resolve(&format!("{stream}:{key}"))
        .map_err(|error| match error {
            ChannelError::Unknown { .. } => Refusal::not_found(),
            ChannelError::InvalidKey(_) => Refusal::bad_request("invalid_key", error.to_string()),
            ChannelError::NotReady => Refusal::unavailable("not_ready", error.to_string(), SOON),
        })
}

/// Checks the principal's permission to read the channel.
async fn authorize(state: &Doors, principal: &Principal, channel: &Channel) -> Result<(), Refusal> {
    let forbidden = || {
        Refusal::new(
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
    let lookup = state.policy.authorize(principal.user(), stream, &channel.topic);
    match timeout(state.config.answer_timeout, lookup).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(forbidden()),
        // The policy has already logged the reason.
        Ok(Err(_)) | Err(_) => Err(Refusal::unavailable(
            "unavailable",
            "the permission could not be looked up; ask again",
            SOON,
        )),
    }
}
