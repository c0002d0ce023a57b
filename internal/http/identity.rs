//! Who asks, and whether they may: the same for a WebSocket, a snapshot and an event stream.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;
use warp::http::StatusCode;
use warp::http::header::ORIGIN;

use crate::auth::{Decision, Principal, TokenError};
use crate::http::call::{Call, segment};
use crate::http::refusal::Refusal;
use crate::http::{Doors, proxies};
use crate::ident::{Channel, UserId};
use crate::stream::ChannelError;

/// When to come back after a limit.
const LATER: Duration = Duration::from_secs(5);
/// When to ask again after something could not be looked up.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// Refuses pages that are not on the list. CORS does not protect WebSockets, so the server must.
pub(super) fn check_origin(doors: &Doors, call: &Call) -> Result<(), Refusal> {
    match call.headers.get(ORIGIN) {
        Some(origin)
            if !origin
                .to_str()
                .is_ok_and(|origin| doors.config.origins.allow(origin)) =>
        {
            Err(Refusal::origin())
        }
        _ => Ok(()),
    }
}

/// Who the request's token says is there.
pub(super) async fn authenticate(doors: &Doors, call: &Call) -> Result<Principal, Refusal> {
    let Some(token) = call.token() else {
        let refusal = Refusal::unauthorized(
            "Bearer",
            "expected a token: Authorization: Bearer, or ?token=",
        );
        return Err(refusal.counted_as(TokenError::Missing.reason()));
    };
    let verified = timeout(doors.config.answer_timeout, doors.verifier.verify(&token)).await;
    verified
        .unwrap_or(Err(TokenError::KeysUnavailable))
        .map_err(|error| {
            debug!(
                reason = error.reason(),
                peer = call.peer_address(),
                "a token was refused"
            );
            let refusal = match error {
                _ if error.is_temporary() => {
                    Refusal::unavailable("unavailable", error.to_string(), SOON)
                }
                _ => Refusal::unauthorized(r#"Bearer error="invalid_token""#, error.to_string()),
            };
            refusal.counted_as(error.reason())
        })
}

/// The same at once; None: there is none to be welcomed, or only [`authenticate`] can tell.
pub(super) fn authenticate_at_once(doors: &Doors, call: &Call) -> Option<Principal> {
    doors.verifier.verify_at_once(&call.token()?)?.ok()
}

/// The places that somebody who stays must have, beside the connection's own: one of the user's, if that is known, and where a proxy says whom it speaks for,
/// one of that address's.
pub(super) fn places(
    doors: &Doors,
    call: &Call,
    user: Option<&UserId>,
) -> Result<Vec<OwnedSemaphorePermit>, Refusal> {
    let Doors { seats, config, .. } = doors;
    let user = user
        .map(|user| seats.take_user(user))
        .transpose()
        .map_err(|()| {
            let refusal = Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "user_limit",
                "too many connections of this user",
            );
            refusal.retry_after(LATER)
        })?;
    let proxy = call
        .address
        .map(|address| address.ip())
        .filter(|address| config.proxies.trust(*address));
    let client = proxy.map(|proxy| {
        config
            .proxies
            .client(proxy, &call.header(proxies::FORWARDED))
    });
    let address = client
        .map(|client| seats.take_address(client))
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

/// Who may see `<stream>/<key>`, and what that is. The order of refusals: no such stream, the method, the token, the key, the permission.
pub(super) async fn visit(
    doors: &Doors,
    stream: &str,
    key: &str,
    call: &Call,
    method: impl FnOnce(&Call) -> Result<(), Refusal>,
) -> Result<(Channel, Principal), Refusal> {
    let (stream, key) = segment(stream)
        .zip(segment(key))
        .ok_or_else(Refusal::not_found)?;
    doors.catalog.find(&stream).ok_or_else(Refusal::not_found)?;
    method(call)?;
    let principal = authenticate(doors, call).await?;
    let channel = resolve(doors, &stream, &key)?;
    authorize(doors, &principal, &channel).await?;
    Ok((channel, principal))
}

fn resolve(doors: &Doors, stream: &str, key: &str) -> Result<Channel, Refusal> {
    doors
        .catalog
        .resolve(&format!("{stream}:{key}"))
        .map_err(|error| match error {
            ChannelError::Unknown { .. } => Refusal::not_found(),
            ChannelError::Key(_) => Refusal::bad_request("invalid_key", error.to_string()),
            ChannelError::NotReady => Refusal::unavailable("not_ready", error.to_string(), SOON),
        })
}

/// Lets through who may read the channel.
async fn authorize(doors: &Doors, principal: &Principal, channel: &Channel) -> Result<(), Refusal> {
    let forbidden = || {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this token may not read that",
        )
    };
    match doors.policy.decide(principal, &doors.catalog, channel) {
        Decision::Allowed => return Ok(()),
        Decision::Forbidden => return Err(forbidden()),
        Decision::Ask => {}
    }
    let stream = doors.catalog.get(channel.topic.stream);
    let asked = doors.policy.ask(principal.user(), stream, &channel.topic);
    match timeout(doors.config.answer_timeout, asked).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(forbidden()),
        // The policy has logged why.
        Ok(Err(_)) | Err(_) => Err(Refusal::unavailable(
            "unavailable",
            "the permission could not be looked up; ask again",
            SOON,
        )),
    }
}
