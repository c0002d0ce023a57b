//! The whole URL space of the server.
//!
//! A route matches an address and answers every method of it, so that a wrong method is a 405 with
//! `Allow` and never a 404 of the route behind it. Errors become responses, and are counted, in one
//! place.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use warp::filters::path::FullPath;
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply as _, path};

use crate::app_message::{AppRequest, AppResponse};
use crate::app_mounts::AppMounts;
use crate::channel_address::ChannelAddress;
use crate::error::ApiError;
use crate::hook::Hook;
use crate::request::request_head;
use crate::response::{BoxedRoutes, Response};
use crate::serve_app::AppTarget;
use crate::specification::Specification;
use crate::state::ServerState;
use crate::static_files::StaticFiles;
use crate::websocket::PendingUpgrade;
use crate::{dashboard, health, metrics, sse_channels, websocket};
use latido_admission::{ConnectionLimits, RequestHead};

/// Builds the filter that answers every request.
pub(super) fn routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let page = StaticFiles::new(state.assets, state.config.command_hints);
    let operators = with_errors(state, dashboard::routes(state, &page));
    let own = canonical_path().and(own_routes(state, mounts, page));
    let own = own.or(operators).unify().boxed();
    let http_apps = app_routes(state, mounts);
    let websocket_apps = with_errors(state, app_websockets(state, mounts));
    let routes = if mounts.is_dedicated {
        http_apps.or(websocket_apps).unify().or(own).unify().boxed()
    } else {
        own.or(http_apps).unify().or(websocket_apps).unify().boxed()
    };
    let channels = canonical_path().and(channel_routes(state, mounts));
    let all = routes.or(channels).unify();
    with_unknown_paths(
        state,
        mounts,
        all.map(Ok)
            .recover(|rejection: Rejection| async {
                Ok::<_, Rejection>(Err(ApiError::from(rejection)))
            })
            .unify(),
    )
}

/// Accepts a path that is written in its one form: without empty segments, so also without a slash
/// at the end. warp ignores them, but the rules of a proxy in front may not (`/metrics/`).
fn canonical_path() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path::full()
        .and_then(|path: FullPath| {
            let path = path.as_str();
            let is_canonical = path == "/" || !(path.ends_with('/') || path.contains("//"));
            ready(if is_canonical {
                Ok(())
            } else {
                Err(warp::reject::not_found())
            })
        })
        .untuple_one()
}

/// Routes the addresses of the server itself, except the operators', in the order in which they are
/// tried.
fn own_routes(state: &Arc<ServerState>, mounts: &AppMounts, page: StaticFiles) -> BoxedRoutes {
    live_routes(state, mounts)
        .or(health_routes(state))
        .unify()
        .or(specification_routes(state, mounts))
        .unify()
        .or(with_errors(state, static_files(page)))
        .unify()
        .or(extra_routes(state))
        .unify()
        .boxed()
}

/// Routes `/ws` and the notifications of the backend.
fn live_routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let hook = Arc::new(Hook::new(Arc::clone(state)));
    let extension = mounts.ws_extension();
    let ws = with_state(state)
        .and(path!("ws"))
        .and(request_head())
        .and(pending_upgrade())
        .then(move |state, head, pending| {
            websocket::upgrade(state, head, pending, extension.clone())
        });
    let notify = path!("notify" / String)
        .and(request_head())
        .and(warp::body::stream())
        .then(move |path, head, body| Arc::clone(&hook).notify(path, head, body));
    with_errors(state, ws)
        .or(with_errors(state, notify))
        .unify()
        .boxed()
}

/// Routes the health checks and the metrics.
fn health_routes(state: &Arc<ServerState>) -> BoxedRoutes {
    let started = Instant::now();
    let health = with_state(state)
        .and(path!("health"))
        .and(request_head())
        .map(move |state: Arc<ServerState>, head| health::health(&state, started, &head));
    let ready = with_state(state)
        .and(path!("ready"))
        .and(request_head())
        .then(health::ready);
    let metrics = with_state(state)
        .and(path!("metrics"))
        .and(request_head())
        .map(|state: Arc<ServerState>, head| metrics::serve_metrics(&state, &head));
    with_errors(state, health)
        .or(with_errors(state, ready))
        .unify()
        .or(with_errors(state, metrics))
        .unify()
        .boxed()
}

/// Routes the descriptions of the HTTP interface and of the messages.
fn specification_routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let (http, messages) = Specification::pair(state, mounts);
    let openapi = path!("openapi.json")
        .and(request_head())
        .map(move |head| http.serve(&head));
    let asyncapi = path!("asyncapi.json")
        .and(request_head())
        .map(move |head| messages.serve(&head));
    with_errors(state, openapi)
        .or(with_errors(state, asyncapi))
        .unify()
        .boxed()
}

/// Routes the snapshots and the events of channels. They come last, since the name of a stream may
/// be that of another address.
fn channel_routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let several = with_state(state)
        .and(path!("events"))
        .and(request_head())
        .then(sse_channels::stream_channels);
    let catalog = Arc::clone(&state.catalog);
    let address = warp::path::full().and_then(move |path: FullPath| {
        let address = ChannelAddress::parse(&catalog, path.as_str());
        ready(address.ok_or_else(warp::reject::not_found))
    });
    let one = with_state(state)
        .and(address)
        .and(request_head())
        .then(|state, address: ChannelAddress, head| address.serve(state, head));
    with_errors(state, several)
        .or(with_unknown_paths(state, mounts, one))
        .unify()
        .boxed()
}

/// Passes the server's state to a handler.
fn with_state(
    state: &Arc<ServerState>,
) -> impl Filter<Extract = (Arc<ServerState>,), Error = Infallible> + Clone + use<> {
    let state = Arc::clone(state);
    warp::any().map(move || Arc::clone(&state))
}

/// Turns a handler's error into its response.
fn with_errors<F>(state: &Arc<ServerState>, route: F) -> BoxedRoutes
where
    F: Filter<Extract = (Result<Response, ApiError>,), Error = Rejection>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let metrics = Arc::clone(&state.metrics);
    let respond = move |result: Result<_, ApiError>| {
        result.unwrap_or_else(|error| error.into_response(&metrics))
    };
    route.map(respond).boxed()
}

/// Turns a handler's error into its response, and that of an unknown path into the app's, where an
/// app answers those.
fn with_unknown_paths<F>(state: &Arc<ServerState>, mounts: &AppMounts, route: F) -> BoxedRoutes
where
    F: Filter<Extract = (Result<Response, ApiError>,), Error = Rejection>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let (metrics, app) = (Arc::clone(&state.metrics), mounts.unknown_path_app());
    let respond = move |result: Result<_, ApiError>| {
        result.unwrap_or_else(|error| {
            let app = app.as_ref().filter(|_| error.is_unknown_path());
            let response = app.and_then(|app| app.unknown_path());
            let own = error.into_response(&metrics);
            response.map_or(own, AppResponse::into_response)
        })
    };
    route.map(respond).boxed()
}

/// Routes the HTTP addresses of apps.
fn app_routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let (state, mounts) = (Arc::clone(state), mounts.clone());
    let sessions = ConnectionLimits::new(&state.config.limits());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let app = mounts
            .http_app(path.as_str())
            .map(|app| (app, path.as_str().to_owned()));
        ready(app.ok_or_else(warp::reject::not_found))
    });
    let request = found.and(request_head()).and(warp::body::stream());
    request
        .then(move |(app, path): (_, String), head, body| {
            let request = AppRequest::from_head(&head, &path, &state.config.proxies);
            let target = AppTarget::new(Arc::clone(&state), app, sessions.clone());
            target.serve(head, request, body)
        })
        .boxed()
}

/// Routes the WebSocket addresses of apps, except `/ws`.
fn app_websockets(
    state: &Arc<ServerState>,
    mounts: &AppMounts,
) -> impl Filter<Extract = (Result<Response, ApiError>,), Error = Rejection>
+ Clone
+ Send
+ Sync
+ 'static {
    let (state, mounts) = (Arc::clone(state), mounts.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let app = mounts
            .websocket_app(path.as_str())
            .map(|app| (app, path.as_str().to_owned()));
        ready(app.ok_or_else(warp::reject::not_found))
    });
    let request = found.and(request_head()).and(pending_upgrade());
    request.then(move |(app, path): (_, String), head, pending| {
        websocket::upgrade_app(Arc::clone(&state), app, path, head, pending)
    })
}

/// Routes the files of the page, each at its own path.
fn static_files(
    page: StaticFiles,
) -> impl Filter<Extract = (Result<Response, ApiError>,), Error = Rejection>
+ Clone
+ Send
+ Sync
+ 'static {
    let files = page.clone();
    let path = warp::path::full().and_then(move |path: FullPath| {
        ready(if files.contains(path.as_str()) {
            Ok(path)
        } else {
            Err(warp::reject::not_found())
        })
    });
    path.and(request_head())
        .map(move |path: FullPath, head: RequestHead| page.serve(path.as_str(), &head))
}

/// Returns the demo's routes, or a 204 in their place: the page asks for them, and a 404 would show
/// as an error in the browser's console.
fn extra_routes(state: &Arc<ServerState>) -> BoxedRoutes {
    let none = || {
        let session = path!("demo" / "session")
            .or(path!("demo" / "operator"))
            .unify()
            .and(request_head());
        let session = session.map(|head: RequestHead| {
            head.require_read()?;
            Ok(StatusCode::NO_CONTENT.into_response())
        });
        let booking = path!("demo" / "citas").and(request_head());
        let booking = booking.map(|head: RequestHead| {
            head.require_post()?;
            Err(ApiError::not_found())
        });
        with_errors(state, session)
            .or(with_errors(state, booking))
            .unify()
            .boxed()
    };
    state.extra_routes.clone().unwrap_or_else(none)
}

/// Extracts the connection of a request, for an upgrade.
fn pending_upgrade() -> impl Filter<Extract = (PendingUpgrade,), Error = Infallible> + Clone {
    warp::ext::optional()
        .and(warp::ext::optional())
        .map(|peer, upgrade| PendingUpgrade { peer, upgrade })
}
