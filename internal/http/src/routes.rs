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

use crate::call::{Call, call};
use crate::hook::Hook;
use crate::page::Page;
use crate::refusal::Refusal;
use crate::specification::Specification;
use crate::{
    Annex, Doors, Extra, Response, dashboard, events, health, metrics, site, snapshot, websocket,
};

/// Builds the filter that answers every request.
pub(super) fn routes(state: &Arc<Doors>, mounts: &Annex) -> Extra {
    let started = Instant::now();
    let hook = Arc::new(Hook::new(Arc::clone(state)));
    let with = {
        let state = Arc::clone(state);
        warp::any().map(move || Arc::clone(&state))
    };
    let upgrade = warp::ext::optional::<OnUpgrade>();

    let page = Page::new(state.assets);
    let operators = dashboard::routes(state, &page);
    let extension = mounts.quay();
    let ws = with.clone().and(path!("ws")).and(call()).and(upgrade);
    let ws = ws
        .then(move |state, head, upgrade| websocket::open(state, head, upgrade, extension.clone()));
    let notify = path!("notify" / String)
        .and(call())
        .and(warp::body::stream());
    let notify = notify.then(move |path, head, body| Arc::clone(&hook).notify(path, head, body));
    let health = with
        .clone()
        .and(path!("health"))
        .and(call())
        .map(move |state: Arc<Doors>, head| health::health(&state, started, &head));
    let ready = with
        .clone()
        .and(path!("ready"))
        .and(call())
        .then(health::ready);
    let metrics = with
        .clone()
        .and(path!("metrics"))
        .and(call())
        .map(|state: Arc<Doors>, head| metrics::show(&state, &head));
    let (http, messages) = Specification::pair(state);
    let openapi = path!("openapi.json")
        .and(call())
        .map(move |head| http.show(&head));
    let asyncapi = path!("asyncapi.json")
        .and(call())
        .map(move |head| messages.show(&head));
    let show = with
        .clone()
        .and(path!(String / String))
        .and(call())
        .then(snapshot::show);
    let follow = with
        .and(path!(String / String / "events"))
        .and(call())
        .then(events::follow);

    let routes = answered(state, ws)
        .or(answered(state, notify))
        .unify()
        .or(answered(state, health))
        .unify();
    let routes = routes
        .or(answered(state, ready))
        .unify()
        .or(answered(state, metrics))
        .unify();
    let routes = routes
        .or(answered(state, openapi))
        .unify()
        .or(answered(state, asyncapi))
        .unify();
    let routes = routes
        .or(answered(state, operators))
        .unify()
        .or(answered(state, files(page)))
        .unify()
        .or(extra(state))
        .unify();
    let http_apps = sites(state, mounts);
    let websocket_apps = answered(state, piers(state, mounts));
    let routes = if mounts.is_theirs {
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
        .or(answered(state, show))
        .unify()
        .or(answered(state, follow))
        .unify();
    answered(
        state,
        all.map(Ok)
            .recover(|rejection: Rejection| async {
                Ok::<_, Rejection>(Err(Refusal::from(rejection)))
            })
            .unify(),
    )
}

/// Turns a handler's error into its response.
fn answered<F>(state: &Arc<Doors>, route: F) -> Extra
where
    F: Filter<Extract = (Result<Response, Refusal>,), Error = Rejection>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let metrics = Arc::clone(&state.metrics);
    let respond = move |result: Result<_, Refusal>| {
        result.unwrap_or_else(|error| error.into_response(&metrics))
    };
    route.map(respond).boxed()
}

/// Routes the HTTP addresses of apps.
fn sites(state: &Arc<Doors>, mounts: &Annex) -> Extra {
    let (state, mounts) = (Arc::clone(state), mounts.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let app = mounts
            .site(path.as_str())
            .map(|app| (app, path.as_str().to_owned()));
        ready(app.ok_or_else(warp::reject::not_found))
    });
    let request = found.and(call()).and(warp::body::stream());
    request
        .then(move |(app, path), head, body| site::serve(Arc::clone(&state), app, path, head, body))
        .boxed()
}

/// Routes the WebSocket addresses of apps, except `/ws`.
fn piers(
    state: &Arc<Doors>,
    mounts: &Annex,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let (state, mounts) = (Arc::clone(state), mounts.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let app = mounts
            .pier(path.as_str())
            .map(|app| (app, path.as_str().to_owned()));
        ready(app.ok_or_else(warp::reject::not_found))
    });
    let request = found.and(call()).and(warp::ext::optional::<OnUpgrade>());
    request.then(move |(app, path): (_, String), head, upgrade| {
        websocket::board(Arc::clone(&state), app, path, head, upgrade)
    })
}

/// Routes the files of the page, each at its own path.
fn files(
    page: Page,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let files = page.clone();
    let path = warp::path::full().and_then(move |path: FullPath| {
        ready(if files.has(path.as_str()) {
            Ok(path)
        } else {
            Err(warp::reject::not_found())
        })
    });
    path.and(call())
        .map(move |path: FullPath, head: Call| page.show(path.as_str(), &head))
}

/// Returns the demo's routes, or a 204 in their place: the page asks for them, and a 404 would show
/// as an error in the browser's console.
fn extra(state: &Doors) -> Extra {
    let none = || {
        let request = path!("demo" / "session")
            .or(path!("demo" / "operator"))
            .unify();
        request
            .map(|| StatusCode::NO_CONTENT.into_response())
            .boxed()
    };
    state.extra.clone().unwrap_or_else(none)
}
