//! The whole URL space of the server.
//!
//! A route matches an address and answers every method of it, so that a wrong method is a 405 with
//! `Allow` and never a 404 of the route behind it. Errors become responses, and are counted, in one
//! place.

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use hyper::upgrade::OnUpgrade;
use warp::filters::path::FullPath;
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply as _, path};

use crate::error::ApiError;
use crate::hook::Hook;
use crate::request::{RequestHead, request_head};
use crate::specification::Specification;
use crate::static_files::StaticFiles;
use crate::{
    AppMounts, BoxedRoutes, Response, ServerState, app_http, dashboard, health, metrics, snapshot,
    sse, websocket,
};

/// Builds the filter that answers every request.
pub(super) fn routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let started = Instant::now();
    let hook = Arc::new(Hook::new(Arc::clone(state)));
    let with = {
        let state = Arc::clone(state);
        warp::any().map(move || Arc::clone(&state))
    };
    let upgrade = warp::ext::optional::<OnUpgrade>();

    let page = StaticFiles::new(state.assets);
    let operators = dashboard::routes(state, &page);
    let extension = mounts.ws_extension();
    let ws = with
        .clone()
        .and(path!("ws"))
        .and(request_head())
        .and(upgrade);
    let ws = ws.then(move |state, head, upgrade| {
        websocket::upgrade(state, head, upgrade, extension.clone())
    });
    let notify = path!("notify" / String)
        .and(request_head())
        .and(warp::body::stream());
    let notify = notify.then(move |path, head, body| Arc::clone(&hook).notify(path, head, body));
    let health = with
        .clone()
        .and(path!("health"))
        .and(request_head())
        .map(move |state: Arc<ServerState>, head| health::health(&state, started, &head));
    let ready = with
        .clone()
        .and(path!("ready"))
        .and(request_head())
        .then(health::ready);
    let metrics = with
        .clone()
        .and(path!("metrics"))
        .and(request_head())
        .map(|state: Arc<ServerState>, head| metrics::serve_metrics(&state, &head));
    let (http, messages) = Specification::pair(state);
    let openapi = path!("openapi.json")
        .and(request_head())
        .map(move |head| http.serve(&head));
    let asyncapi = path!("asyncapi.json")
        .and(request_head())
        .map(move |head| messages.serve(&head));
    let show = with
        .clone()
        .and(path!(String / String))
        .and(request_head())
        .then(snapshot::serve_snapshot);
    let follow = with
        .and(path!(String / String / "events"))
        .and(request_head())
        .then(sse::stream_events);

    let routes = with_errors(state, ws)
        .or(with_errors(state, notify))
        .unify()
        .or(with_errors(state, health))
        .unify();
    let routes = routes
        .or(with_errors(state, ready))
        .unify()
        .or(with_errors(state, metrics))
        .unify();
    let routes = routes
        .or(with_errors(state, openapi))
        .unify()
        .or(with_errors(state, asyncapi))
        .unify();
    let routes = routes
        .or(with_errors(state, operators))
        .unify()
        .or(with_errors(state, static_files(page)))
        .unify()
        .or(extra_routes(state))
        .unify();
    let http_apps = app_routes(state, mounts);
    let websocket_apps = with_errors(state, app_websockets(state, mounts));
    let routes = if mounts.is_dedicated {
        http_apps
            .or(websocket_apps)
            .unify()
            .or(routes)
            .unify()
            .boxed()
    } else {
        routes
            .or(http_apps)
            .unify()
            .or(websocket_apps)
            .unify()
            .boxed()
    };
    let all = routes
        .or(with_errors(state, show))
        .unify()
        .or(with_errors(state, follow))
        .unify();
    with_errors(
        state,
        all.map(Ok)
            .recover(|rejection: Rejection| async {
                Ok::<_, Rejection>(Err(ApiError::from(rejection)))
            })
            .unify(),
    )
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

/// Routes the HTTP addresses of apps.
fn app_routes(state: &Arc<ServerState>, mounts: &AppMounts) -> BoxedRoutes {
    let (state, mounts) = (Arc::clone(state), mounts.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let app = mounts
            .http_app(path.as_str())
            .map(|app| (app, path.as_str().to_owned()));
        ready(app.ok_or_else(warp::reject::not_found))
    });
    let request = found.and(request_head()).and(warp::body::stream());
    request
        .then(move |(app, path), head, body| {
            app_http::serve_app_request(Arc::clone(&state), app, path, head, body)
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
    let request = found
        .and(request_head())
        .and(warp::ext::optional::<OnUpgrade>());
    request.then(move |(app, path): (_, String), head, upgrade| {
        websocket::upgrade_app(Arc::clone(&state), app, path, head, upgrade)
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
fn extra_routes(state: &ServerState) -> BoxedRoutes {
    let none = || {
        let request = path!("demo" / "session")
            .or(path!("demo" / "operator"))
            .unify();
        request
            .map(|| StatusCode::NO_CONTENT.into_response())
            .boxed()
    };
    state.extra_routes.clone().unwrap_or_else(none)
}
