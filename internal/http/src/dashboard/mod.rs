//! `/dashboard`: the operators' page and its JSON.
//!
//! Everything but the page itself requires a token with an admin's role, in `Authorization` alone,
//! because URLs are logged. Clients of an older system request some of the same data under
//! `/dashboard` and, in its second version, under `/api/dashboard`. Both get their shapes here,
//! with this server's own fields beside them.

mod shapes;

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::debug;
use warp::http::header::{ACCEPT, HeaderName, VARY};
use warp::http::{HeaderValue, StatusCode};
use warp::path::Tail;
use warp::{Filter, Rejection, path};

use crate::call::{Call, call};
use crate::health::uncached;
use crate::identity::{authenticate, check_origin};
use crate::page::Page;
use crate::refusal::{Refusal, json_response};
use crate::{Doors, Response};
use latido_auth::Principal;
use latido_session::CloseReason;
use latido_shard::{ClientId, InvalidClientId};

use shapes::Generation;

/// The path of the page's file.
const PAGE: &str = "/dashboard.html";
/// The most clients, rooms and events in one response.
const MOST: usize = 500;

const X_HAS_MORE: HeaderName = HeaderName::from_static("x-has-more");

/// Routes every address under `/dashboard` and `/api/dashboard`.
pub(super) fn routes(
    state: &Arc<Doors>,
    page: &Page,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let (state, page) = (Arc::clone(state), page.clone());
    let first = path("dashboard").map(|| Generation::First);
    let second = path("api")
        .and(path("dashboard"))
        .map(|| Generation::Second);
    first.or(second).unify().and(path::tail()).and(call()).then(
        move |version, tail: Tail, head: Call| {
            let (state, page) = (Arc::clone(&state), page.clone());
            async move { answer(&state, &page, version, tail.as_str(), &head).await }
        },
    )
}

async fn answer(
    state: &Doors,
    page: &Page,
    version: Generation,
    path: &str,
    head: &Call,
) -> Result<Response, Refusal> {
    let segments: Vec<_> = path.trim_end_matches('/').split('/').collect();
    match segments.as_slice() {
        [""] if version == Generation::First && head.header(ACCEPT).contains("text/html") => {
            page.show(PAGE, head).map(varying)
        }
        ["cleanup"] => cleanup(state, version, head).await,
        ["clients", id] => {
            head.deletes()?;
            close(state, id, head).await
        }
        ["clients", id, "close"] => {
            head.posts()?;
            close(state, id, head).await
        }
        [
            view @ ("" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status"
            | "status"),
        ] => {
            head.reads()?;
            operator(state, head).await?;
            show(state, version, view, head).await.map(varying)
        }
        _ => Err(Refusal::not_found()),
    }
}

/// Returns the principal, if it may operate this server.
async fn operator(state: &Doors, head: &Call) -> Result<Principal, Refusal> {
    check_origin(state, head)?;
    if head.bearer().is_none() {
        return Err(Refusal::unauthorized(
            "Bearer",
            "expected an admin's token: Authorization: Bearer",
        )
        .counted_as("missing"));
    }
    let principal = authenticate(state, head).await?;
    if !state.policy.is_admin(&principal) {
        debug!(
            peer = head.peer_address(),
            "a user without an admin role requested the dashboard"
        );
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "expected a token with an admin's role",
        ));
    }
    Ok(principal)
}

async fn show(
    state: &Doors,
    version: Generation,
    view: &str,
    head: &Call,
) -> Result<Response, Refusal> {
    let operations = &state.operations;
    let limit = head
        .query("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(MOST)
        .min(MOST);
    let body = match view {
        "clients" => {
            let list = operations
                .clients(&head.query("q").unwrap_or_default(), limit)
                .await;
            let mut response = json(&version.list("clients", shapes::clients(&list)));
            response.headers_mut().insert(
                X_HAS_MORE,
                HeaderValue::from_static(if list.has_more { "true" } else { "false" }),
            );
            return Ok(response);
        }
        "rooms" => version.list("rooms", shapes::rooms(&operations.rooms(limit))),
        "events" => shapes::events(operations, version, limit),
        "stats" | "metrics" => shapes::stats(operations, state.clock.now()),
        "api-status" | "status" => shapes::api_status(operations).await,
        _ => shapes::overview(operations, state.clock.unix_s()).await,
    };
    Ok(json(&body))
}

/// Checks every client now for expired tokens and the like, which the server also does by itself
/// over time.
async fn cleanup(state: &Doors, version: Generation, head: &Call) -> Result<Response, Refusal> {
    head.posts()?;
    let operator = operator(state, head).await?;
    let swept = state.operations.sweep(operator.user()).await;
    let (rooms, viewers) = state.operations.viewer_counts();
    let counts = json!({"success": true, "message": "every client was looked at", "lookedAt": swept.examined, "closed": swept.closed,
        "rooms": rooms, "viewers": viewers});
    let mut response = json(&counts);
    *response.status_mut() = version.posted();
    Ok(response)
}

/// Closes one connection. `?come_back=true` asks the client to reconnect.
async fn close(state: &Doors, id: &str, head: &Call) -> Result<Response, Refusal> {
    let operator = operator(state, head).await?;
    let invalid =
        |error: InvalidClientId| Refusal::bad_request("invalid_client", error.to_string());
    let id: ClientId = id.parse().map_err(invalid)?;
    let may_return = head.query("come_back").is_some_and(|value| value == "true");
    let reason = if may_return {
        CloseReason::AdminReconnect
    } else {
        CloseReason::AdminClosed
    };
    let user = state.operations.disconnect(id, reason, operator.user()).await;
    let user = user.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown_client",
            "no such client; it may have gone",
        )
    })?;
    Ok(json(
        &json!({"closed": id.to_string(), "user": user.as_str(), "code": reason.code(), "reason": reason.text()}),
    ))
}

fn json(body: &Value) -> Response {
    uncached(json_response(body.to_string()))
}

/// Marks a response as depending on `Accept`, because page and JSON share an address.
fn varying(mut response: Response) -> Response {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept, Authorization"));
    response
}
