//! `/dashboard`: the operators' page and its JSON.
//!
//! Everything but the page itself requires a token with an admin's role, in `Authorization` alone,
//! because URLs are logged. Clients of an older system request some of the same data under
//! `/dashboard` and, in its second version, under `/api/dashboard`. Both get their shapes here,
//! with this server's own fields beside them.

mod legacy_json;
mod reload;

use std::sync::Arc;

use serde_json::{Value, json};
use tracing::debug;
use warp::http::header::{ACCEPT, HeaderName, LOCATION, VARY};
use warp::http::{HeaderValue, StatusCode};
use warp::path::{FullPath, Tail};
use warp::{Filter, Rejection, path};

use crate::authenticate::authenticate;
use crate::error::ApiError;
use crate::request::request_head;
use crate::response::{Response, json_response, uncached};
use crate::state::ServerState;
use crate::static_files::StaticFiles;
use latido_admission::RequestHead;
use latido_auth::Principal;
use latido_net::query;
use latido_session::CloseReason;
use latido_shard::{ClientId, InvalidClientId};

use legacy_json::DashboardVersion;

/// The path of the page's file.
const PAGE: &str = "/dashboard.html";
/// The most clients, rooms and events in one response.
const MAX_ITEMS: usize = 500;

const X_HAS_MORE: HeaderName = HeaderName::from_static("x-has-more");

/// Routes every address under `/dashboard` and `/api/dashboard`.
pub(super) fn routes(
    state: &Arc<ServerState>,
    page: &StaticFiles,
) -> impl Filter<Extract = (Result<Response, ApiError>,), Error = Rejection>
+ Clone
+ Send
+ Sync
+ 'static {
    let (state, page) = (Arc::clone(state), page.clone());
    let first = path("dashboard").map(|| DashboardVersion::V1);
    let second = path("api")
        .and(path("dashboard"))
        .map(|| DashboardVersion::V2);
    first
        .or(second)
        .unify()
        .and(path::full())
        .and(path::tail())
        .and(request_head())
        .then(
            move |version, full: FullPath, tail: Tail, head: RequestHead| {
                let (state, page) = (Arc::clone(&state), page.clone());
                async move {
                    match to_canonical(full.as_str(), &head.query)? {
                        Some(redirect) => Ok(redirect),
                        None => handle(&state, &page, version, tail.as_str(), &head).await,
                    }
                }
            },
        )
}

/// Redirects a path with a slash at the end, as clients of the older system wrote them. Returns
/// `None` for a path in its one spelling.
fn to_canonical(path: &str, query: &str) -> Result<Option<Response>, ApiError> {
    if path.contains("//") {
        return Err(ApiError::not_found());
    }
    let Some(canonical) = path.strip_suffix('/') else {
        return Ok(None);
    };
    let separator = if query.is_empty() { "" } else { "?" };
    let target = format!("{canonical}{separator}{query}");
    let target = HeaderValue::try_from(target).map_err(|_| ApiError::not_found())?;
    let mut response = Response::new("".into());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(LOCATION, target);
    Ok(Some(response))
}

async fn handle(
    state: &ServerState,
    page: &StaticFiles,
    version: DashboardVersion,
    path: &str,
    head: &RequestHead,
) -> Result<Response, ApiError> {
    let segments: Vec<_> = path.split('/').collect();
    match segments.as_slice() {
        [""] if version == DashboardVersion::V1 && head.header(ACCEPT).contains("text/html") => {
            page.serve(PAGE, head).map(with_vary)
        }
        ["cleanup"] => cleanup(state, version, head).await,
        ["reload"] => {
            head.require_post()?;
            let operator = require_admin(state, head).await?;
            let operator = operator.user().as_str();
            tracing::info!(operator, "an operator reads the configuration again");
            let report = reload::reload(state.reload.as_deref()).await?;
            Ok(uncached_json(&report))
        }
        ["clients", id] => {
            head.require_delete()?;
            close_client(state, id, head).await
        }
        ["clients", id, "close"] => {
            head.require_post()?;
            close_client(state, id, head).await
        }
        [
            view @ ("" | "clients" | "rooms" | "events" | "stats" | "metrics" | "api-status"
            | "status"),
        ] => {
            head.require_read()?;
            require_admin(state, head).await?;
            view_response(state, version, view, head)
                .await
                .map(with_vary)
        }
        _ => Err(ApiError::not_found()),
    }
}

/// Returns the principal, if it may operate this server.
async fn require_admin(state: &ServerState, head: &RequestHead) -> Result<Principal, ApiError> {
    state.rules.check_origin(head)?;
    if head.bearer().is_none() {
        return Err(ApiError::unauthorized(
            "Bearer",
            "expected an admin's token: Authorization: Bearer",
        )
        .with_metric_label("missing"));
    }
    let principal = authenticate(state, head).await?;
    if !state.policy.is_admin(&principal) {
        debug!(
            peer = head.remote_addr_text(),
            "a user without an admin role requested the dashboard"
        );
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "expected a token with an admin's role",
        ));
    }
    Ok(principal)
}

async fn view_response(
    state: &ServerState,
    version: DashboardVersion,
    view: &str,
    head: &RequestHead,
) -> Result<Response, ApiError> {
    let operations = &state.admin;
    let limit = item_limit(head)?;
    let body = match view {
        "clients" => {
            let list = operations
                .clients(&head.query("q").unwrap_or_default(), limit)
                .await;
            let mut response =
                uncached_json(&version.list("clients", legacy_json::clients_json(&list)));
            response.headers_mut().insert(
                X_HAS_MORE,
                HeaderValue::from_static(if list.has_more { "true" } else { "false" }),
            );
            return Ok(response);
        }
        "rooms" => version.list("rooms", legacy_json::rooms_json(&operations.rooms(limit))),
        "events" => legacy_json::events_json(operations, version, limit),
        "stats" | "metrics" => legacy_json::stats_json(operations, state.clock.now()),
        "api-status" | "status" => legacy_json::api_status_json(operations).await,
        _ => legacy_json::overview_json(operations, state.clock.unix_s()).await,
    };
    Ok(uncached_json(&body))
}

/// Returns the value of a query parameter, also if it is empty.
fn parameter(head: &RequestHead, name: &str) -> Option<String> {
    let empty = || query::raw_value(&head.query, name).map(str::to_owned);
    head.query(name).or_else(empty)
}

/// Returns the most items that a list may have: those that the request asks for, or
/// [`MAX_ITEMS`].
fn item_limit(head: &RequestHead) -> Result<usize, ApiError> {
    let Some(limit) = parameter(head, "limit") else {
        return Ok(MAX_ITEMS);
    };
    if limit.is_empty() || !limit.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ApiError::bad_request(
            "bad_request",
            "expected limit: an integer from 0",
        ));
    }
    Ok(limit.parse().unwrap_or(MAX_ITEMS).min(MAX_ITEMS))
}

/// Checks every client now for expired tokens and the like, which the server also does by itself
/// over time.
async fn cleanup(
    state: &ServerState,
    version: DashboardVersion,
    head: &RequestHead,
) -> Result<Response, ApiError> {
    head.require_post()?;
    let operator = require_admin(state, head).await?;
    let swept = state.admin.sweep(operator.user()).await;
    let (rooms, viewers) = state.admin.viewer_counts();
    let counts = json!({"success": true, "message": "every client was looked at", "lookedAt": swept.examined, "closed": swept.closed,
        "rooms": rooms, "viewers": viewers});
    let mut response = uncached_json(&counts);
    *response.status_mut() = version.post_status();
    Ok(response)
}

/// Closes one connection. `?come_back=true` asks the client to reconnect.
async fn close_client(
    state: &ServerState,
    id: &str,
    head: &RequestHead,
) -> Result<Response, ApiError> {
    let operator = require_admin(state, head).await?;
    let invalid =
        |error: InvalidClientId| ApiError::bad_request("invalid_client", error.to_string());
    let id: ClientId = id.parse().map_err(invalid)?;
    let may_return = match parameter(head, "come_back").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => {
            return Err(ApiError::bad_request(
                "bad_request",
                "expected come_back: true or false",
            ));
        }
    };
    let reason = if may_return {
        CloseReason::AdminReconnect
    } else {
        CloseReason::AdminClosed
    };
    let user = state.admin.disconnect(id, reason, operator.user()).await;
    let user = user.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_client",
            "no such client; it may have gone",
        )
    })?;
    Ok(uncached_json(
        &json!({"closed": id.to_string(), "user": user.as_str(), "code": reason.code(), "reason": reason.text()}),
    ))
}

fn uncached_json(body: &Value) -> Response {
    uncached(json_response(body.to_string()))
}

/// Marks a response as depending on `Accept`, because page and JSON share an address.
fn with_vary(mut response: Response) -> Response {
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("Accept, Authorization"));
    response
}
