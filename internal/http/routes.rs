//! The whole URL space.
//!
//! A route matches an address and answers every method of it, so that a wrong method is a 405 with `Allow` and never a 404 of the route
//! behind it. Refusals become responses, and are counted, in one place.

use std::future::ready;
use std::sync::Arc;
use std::time::Instant;

use hyper::upgrade::OnUpgrade;
use warp::filters::path::FullPath;
use warp::http::StatusCode;
use warp::{Filter, Rejection, Reply as _, path};

use crate::http::call::{Call, call};
use crate::http::hook::Hook;
use crate::http::page::Page;
use crate::http::refusal::Refusal;
use crate::http::specification::Specification;
use crate::http::{
    Annex, Doors, Extra, Response, dashboard, events, health, metrics, site, snapshot, websocket,
};

/// Everything the server answers.
pub(super) fn routes(doors: &Arc<Doors>, annex: &Annex) -> Extra {
    let started = Instant::now();
    let hook = Arc::new(Hook::new(Arc::clone(doors)));
    let with = {
        let doors = Arc::clone(doors);
        warp::any().map(move || Arc::clone(&doors))
    };
    let upgrade = warp::ext::optional::<OnUpgrade>();

    let page = Page::new(doors.assets);
    let operators = dashboard::routes(doors, &page);
    let quay = annex.quay();
    let ws = with.clone().and(path!("ws")).and(call()).and(upgrade);
    let ws =
        ws.then(move |doors, call, upgrade| websocket::open(doors, call, upgrade, quay.clone()));
    let notify = path!("notify" / String)
        .and(call())
        .and(warp::body::stream());
    let notify = notify.then(move |path, call, body| Arc::clone(&hook).notify(path, call, body));
    let health = with
        .clone()
        .and(path!("health"))
        .and(call())
        .map(move |doors: Arc<Doors>, call| health::health(&doors, started, &call));
    let ready = with
        .clone()
        .and(path!("ready"))
        .and(call())
        .then(health::ready);
    let metrics = with
        .clone()
        .and(path!("metrics"))
        .and(call())
        .map(|doors: Arc<Doors>, call| metrics::show(&doors, &call));
    let (http, messages) = Specification::pair(doors);
    let openapi = path!("openapi.json")
        .and(call())
        .map(move |call| http.show(&call));
    let asyncapi = path!("asyncapi.json")
        .and(call())
        .map(move |call| messages.show(&call));
    let show = with
        .clone()
        .and(path!(String / String))
        .and(call())
        .then(snapshot::show);
    let follow = with
        .and(path!(String / String / "events"))
        .and(call())
        .then(events::follow);

    let ours = answered(doors, ws)
        .or(answered(doors, notify))
        .unify()
        .or(answered(doors, health))
        .unify();
    let ours = ours
        .or(answered(doors, ready))
        .unify()
        .or(answered(doors, metrics))
        .unify();
    let ours = ours
        .or(answered(doors, openapi))
        .unify()
        .or(answered(doors, asyncapi))
        .unify();
    let ours = ours
        .or(answered(doors, operators))
        .unify()
        .or(answered(doors, files(page)))
        .unify()
        .or(extra(doors))
        .unify();
    let (sites, piers) = (sites(doors, annex), answered(doors, piers(doors, annex)));
    let ours = if annex.is_theirs {
        sites.or(piers).unify().or(ours).unify().boxed()
    } else {
        ours.or(sites).unify().or(piers).unify().boxed()
    };
    let all = ours
        .or(answered(doors, show))
        .unify()
        .or(answered(doors, follow))
        .unify();
    answered(
        doors,
        all.map(Ok)
            .recover(|rejection: Rejection| async {
                Ok::<_, Rejection>(Err(Refusal::from(rejection)))
            })
            .unify(),
    )
}

/// Turns a handler's refusal into the response it means.
fn answered<F>(doors: &Arc<Doors>, route: F) -> Extra
where
    F: Filter<Extract = (Result<Response, Refusal>,), Error = Rejection>
        + Clone
        + Send
        + Sync
        + 'static,
{
    let metrics = Arc::clone(&doors.metrics);
    let answer = move |result: Result<_, Refusal>| {
        result.unwrap_or_else(|refusal| refusal.into_response(&metrics))
    };
    route.map(answer).boxed()
}

/// The addresses of apps.
fn sites(doors: &Arc<Doors>, annex: &Annex) -> Extra {
    let (doors, annex) = (Arc::clone(doors), annex.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let site = annex
            .site(path.as_str())
            .map(|site| (site, path.as_str().to_owned()));
        ready(site.ok_or_else(warp::reject::not_found))
    });
    let asked = found.and(call()).and(warp::body::stream());
    asked
        .then(move |(site, path), call, body| {
            site::serve(Arc::clone(&doors), site, path, call, body)
        })
        .boxed()
}

/// The WebSockets of apps, `/ws` apart.
fn piers(
    doors: &Arc<Doors>,
    annex: &Annex,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let (doors, annex) = (Arc::clone(doors), annex.clone());
    let found = warp::path::full().and_then(move |path: FullPath| {
        let pier = annex
            .pier(path.as_str())
            .map(|pier| (pier, path.as_str().to_owned()));
        ready(pier.ok_or_else(warp::reject::not_found))
    });
    let asked = found.and(call()).and(warp::ext::optional::<OnUpgrade>());
    asked.then(move |(pier, path): (_, String), call, upgrade| {
        websocket::board(Arc::clone(&doors), pier, path, call, upgrade)
    })
}

/// The files of the page, each at its own path.
fn files(
    page: Page,
) -> impl Filter<Extract = (Result<Response, Refusal>,), Error = Rejection> + Clone + Send + Sync + 'static
{
    let known = page.clone();
    let path = warp::path::full().and_then(move |path: FullPath| {
        ready(if known.has(path.as_str()) {
            Ok(path)
        } else {
            Err(warp::reject::not_found())
        })
    });
    path.and(call())
        .map(move |path: FullPath, call: Call| page.show(path.as_str(), &call))
}

/// The demo's addresses, or else the answer that there is no demo: the page asks, and a 404 would be an error in the browser's console.
fn extra(doors: &Doors) -> Extra {
    let none = || {
        let asked = path!("demo" / "session")
            .or(path!("demo" / "operator"))
            .unify();
        asked.map(|| StatusCode::NO_CONTENT.into_response()).boxed()
    };
    doors.extra.clone().unwrap_or_else(none)
}
