//! `/dashboard`: the operators' page and its JSON.
//!
//! Everything but the page itself is for a token whose role is an admin's, in `Authorization` alone: what stands in a URL stands in logs.
//! Clients of an older system ask for some of the same under `/dashboard` and, its second generation, under `/api/dashboard`; both find
//! their shapes here, with ours beside them.

mod shapes;

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::debug;
use warp::http::header::{ACCEPT, HeaderName, VARY};
use warp::http::{HeaderValue, StatusCode};
use warp::path::Tail;
use warp::{Filter, Rejection, path};

use crate::auth::Principal;
use crate::http::call::{Call, call};
use crate::http::health::uncached;
use crate::http::identity::{authenticate, check_origin};
use crate::http::page::Page;
use crate::http::refusal::{Refusal, json_response};
use crate::http::{Doors, Response};
use crate::session::CloseReason;
use crate::shard::{ClientId, InvalidClientId};

use shapes::Generation;

/// The page's file.
const PAGE: &str = "/dashboard.html";
/// Most clients, rooms and events in one answer.
const MOST: usize = 500;

const X_HAS_MORE: HeaderName = HeaderName::from_static("x-has-more");

/// Every address under `/dashboard` and `/api/dashboard`.
pub(super) fn routes(
    doors: &Arc<Doors>,
    page: &Page,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let (doors, page) = (Arc::clone(doors), page.clone());
    let first = path("dashboard").map(|| Generation::First);
    let second = path("api")
        .and(path("dashboard"))
        .map(|| Generation::Second);
    first.or(second).unify().and(path::tail()).and(call()).then(
        move |generation, tail: Tail, call: Call| {
            let (doors, page) = (Arc::clone(&doors), page.clone());
            async move { answer(&doors, &page, generation, tail.as_str(), &call).await }
        },
    )
}

async fn answer(
    doors: &Doors,
    page: &Page,
    generation: Generation,
    path: &str,
    call: &Call,
) -> Result<Response, Refusal> {
    let segments: Vec<_> = path.trim_end_matches('/').split('/').collect();
    match segments.as_slice() {
        [""] if generation == Generation::First && call.header(ACCEPT).contains("text/html") => {
            page.show(PAGE, call).map(varying)
        }
        ["cleanup"] => cleanup(doors, generation, call).await,
        ["clients", id] => {
            call.deletes()?;
            close(doors, id, call).await
        }
        ["clients", id, "close"] => {
            call.posts()?;
            close(doors, id, call).await
        }
        [
            what @ ("" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status"
            | "status"),
        ] => {
            call.reads()?;
            operator(doors, call).await?;
            show(doors, generation, what, call).await.map(varying)
        }
        _ => Err(Refusal::not_found()),
    }
}

/// Whoever may operate this server.
async fn operator(doors: &Doors, call: &Call) -> Result<Principal, Refusal> {
    check_origin(doors, call)?;
    if call.bearer().is_none() {
        return Err(Refusal::unauthorized(
            "Bearer",
            "expected an admin's token: Authorization: Bearer",
        )
        .counted_as("missing"));
    }
    let principal = authenticate(doors, call).await?;
    if !doors.policy.is_admin(&principal) {
        debug!(
            peer = call.peer_address(),
            "somebody who is no admin asked for the dashboard"
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
    doors: &Doors,
    generation: Generation,
    what: &str,
    call: &Call,
) -> Result<Response, Refusal> {
    let operations = &doors.operations;
    let most = call
        .query("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(MOST)
        .min(MOST);
    let body = match what {
        "clients" => {
            let roster = operations
                .clients(&call.query("q").unwrap_or_default(), most)
                .await;
            let mut response = json(&generation.list("clients", shapes::clients(&roster)));
            response.headers_mut().insert(
                X_HAS_MORE,
                HeaderValue::from_static(if roster.has_more { "true" } else { "false" }),
            );
            return Ok(response);
        }
        "rooms" => generation.list("rooms", shapes::rooms(&operations.rooms(most))),
        "events" => shapes::events(operations, generation, most),
        "stats" | "metrics" => shapes::stats(operations, doors.clock.now()),
        "api-status" | "status" => shapes::api_status(operations).await,
        _ => shapes::overview(operations, doors.clock.unix_s()).await,
    };
    Ok(json(&body))
}

/// Looks at every client now; what the server does by itself in its time.
async fn cleanup(doors: &Doors, generation: Generation, call: &Call) -> Result<Response, Refusal> {
    call.posts()?;
    let operator = operator(doors, call).await?;
    let swept = doors.operations.sweep(operator.user()).await;
    let (rooms, viewers) = doors.operations.counts();
    let counts = json!({"success": true, "message": "every client was looked at", "lookedAt": swept.looked_at, "closed": swept.closed,
        "rooms": rooms, "viewers": viewers});
    let mut response = json(&counts);
    *response.status_mut() = generation.posted();
    Ok(response)
}

/// Ends one connection. `?come_back=true`: it is asked to come back.
async fn close(doors: &Doors, id: &str, call: &Call) -> Result<Response, Refusal> {
    let operator = operator(doors, call).await?;
    let invalid =
        |error: InvalidClientId| Refusal::bad_request("invalid_client", error.to_string());
    let id: ClientId = id.parse().map_err(invalid)?;
    let may_return = call.query("come_back").is_some_and(|value| value == "true");
    let reason = if may_return {
        CloseReason::Recalled
    } else {
        CloseReason::Dismissed
    };
    let user = doors.operations.dismiss(id, reason, operator.user()).await;
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

/// Page and JSON share an address.
fn varying(mut response: Response) -> Response {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept, Authorization"));
    response
}
