//! The router of an app's HTTP routes.
//!
//! A request is matched with one route, and its client is authenticated once, both before the body
//! is read. The handler then receives the path's parameters and the verified client.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;

use latido_http::{AppHandler, AppRequest, AppResponse, HttpApp};

use crate::json_error::ErrorFormat;
use crate::route_pattern::{ParseParam, PathParams, RoutePattern, decode_segment, is_below};

/// The largest request body unless the app sets another limit, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A matched request, as a handler receives it.
#[derive(Debug)]
pub struct RouteRequest<C> {
    /// The client, as the route's guard verified it.
    pub client: C,
    /// The parameters of the path.
    pub params: PathParams,
    /// The request with its whole body.
    pub request: AppRequest,
}

/// The routes of an app. `S` is the state that all guards and handlers share.
pub struct Router<S> {
    state: Arc<S>,
    routes: Vec<Route<S>>,
    folders: Vec<String>,
    errors: ErrorFormat,
    server_errors: ErrorFormat,
    max_body_bytes: usize,
    parse_param: ParseParam,
    guard_unmatched: fn(&S, &AppRequest) -> Result<(), AppResponse>,
    on_server_error: fn(&S),
    answers_unknown_paths: bool,
}

/// Authenticates the client of a request and binds the handler to it.
type Authorize<S> =
    dyn Fn(&Arc<S>, &AppRequest, PathParams) -> Result<AppHandler, AppResponse> + Send + Sync;

struct Route<S> {
    verb: Verb,
    pattern: RoutePattern,
    authorize: Box<Authorize<S>>,
}

/// The method of a route. `GET` includes `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
}

impl Verb {
    fn matches(self, method: &str) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method)
    }

    /// Returns the name of the operation in an OpenAPI document.
    fn operation(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
        }
    }

    /// Returns the methods for the header `Allow`.
    fn allowed(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
        }
    }
}

/// The guard of routes that need no authentication.
///
/// # Errors
/// Never returns an error.
pub fn public<S>(_state: &S, _request: &AppRequest) -> Result<(), AppResponse> {
    Ok(())
}

impl<S: Send + Sync + 'static> Router<S> {
    /// Creates a router without routes.
    pub fn new(state: Arc<S>, errors: ErrorFormat) -> Self {
        Self {
            state,
            routes: Vec::new(),
            folders: Vec::new(),
            errors,
            server_errors: errors,
            max_body_bytes: MAX_BODY_BYTES,
            parse_param: decode_segment,
            guard_unmatched: public,
            on_server_error: |_| {},
            answers_unknown_paths: false,
        }
    }

    /// Adds a route for `GET` and `HEAD`. The guard authenticates the client before the body is
    /// read, and its error is sent instead of the handler's response.
    #[must_use]
    pub fn get<C, G, H, F>(self, pattern: &str, guard: G, handler: H) -> Self
    where
        C: Send + 'static,
        G: Fn(&S, &AppRequest) -> Result<C, AppResponse> + Send + Sync + 'static,
        H: Fn(Arc<S>, RouteRequest<C>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = AppResponse> + Send + 'static,
    {
        self.route(Verb::Get, pattern, guard, handler)
    }

    /// Adds a route for `POST`; see [`Router::get`].
    #[must_use]
    pub fn post<C, G, H, F>(self, pattern: &str, guard: G, handler: H) -> Self
    where
        C: Send + 'static,
        G: Fn(&S, &AppRequest) -> Result<C, AppResponse> + Send + Sync + 'static,
        H: Fn(Arc<S>, RouteRequest<C>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = AppResponse> + Send + 'static,
    {
        self.route(Verb::Post, pattern, guard, handler)
    }

    /// Answers all other paths in this folder with 404 too, instead of leaving them to the server.
    #[must_use]
    pub fn folder(mut self, path: &str) -> Self {
        self.folders.push(path.to_owned());
        self
    }

    /// Sets the largest request body, in bytes.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Sets how the segments of path parameters are parsed. A path whose parameter is invalid is
    /// not found. The default percent-decodes them.
    #[must_use]
    pub fn parse_params(mut self, parse: ParseParam) -> Self {
        self.parse_param = parse;
        self
    }

    /// Sets a check that runs before a 404 or a 405 of this router, whose error is sent instead, so
    /// that strangers don't learn which routes exist.
    #[must_use]
    pub fn guard_unmatched(
        mut self,
        guard: fn(&S, &AppRequest) -> Result<(), AppResponse>,
    ) -> Self {
        self.guard_unmatched = guard;
        self
    }

    /// Sets the form of the errors that the server answers on the app's behalf, such as 413, if it
    /// is not the form of the app's own errors.
    #[must_use]
    pub fn server_errors(mut self, errors: ErrorFormat) -> Self {
        self.server_errors = errors;
        self
    }

    /// Sets a function that counts the errors that the server answers on the app's behalf.
    #[must_use]
    pub fn on_server_error(mut self, count: fn(&S)) -> Self {
        self.on_server_error = count;
        self
    }

    /// Answers the paths that nothing on the app's own listener has with this router's 404 too.
    #[must_use]
    pub fn answer_unknown_paths(mut self) -> Self {
        self.answers_unknown_paths = true;
        self
    }

    fn route<C, G, H, F>(mut self, verb: Verb, pattern: &str, guard: G, handler: H) -> Self
    where
        C: Send + 'static,
        G: Fn(&S, &AppRequest) -> Result<C, AppResponse> + Send + Sync + 'static,
        H: Fn(Arc<S>, RouteRequest<C>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = AppResponse> + Send + 'static,
    {
        let authorize = move |state: &Arc<S>, request: &AppRequest, params: PathParams| {
            let client = guard(state, request)?;
            let (state, handler) = (Arc::clone(state), handler.clone());
            let handle = move |request| -> BoxFuture<'static, AppResponse> {
                let request = RouteRequest {
                    client,
                    params,
                    request,
                };
                Box::pin(handler(state, request))
            };
            Ok(Box::new(handle) as AppHandler)
        };
        self.routes.push(Route {
            verb,
            pattern: RoutePattern::new(pattern),
            authorize: Box::new(authorize),
        });
        self
    }

    /// Returns the routes that no path of an OpenAPI document describes, as `GET /path`.
    pub fn undocumented_routes(&self, openapi: &Value) -> Vec<String> {
        let paths = openapi["paths"].as_object().into_iter().flatten();
        let paths: Vec<_> = paths.collect();
        let is_described = |route: &&Route<S>| {
            paths.iter().any(|(path, item)| {
                let parse: ParseParam = |raw| Some(raw.to_owned());
                item.get(route.verb.operation()).is_some()
                    && route.pattern.match_path(path, parse).is_some()
            })
        };
        let missing = self.routes.iter().filter(|route| !is_described(route));
        missing
            .map(|route| format!("{} {:?}", route.verb.operation(), route.pattern))
            .collect()
    }

    /// Returns the 404 or 405 for a request without a route.
    fn unmatched(&self, request: &AppRequest, allowed: &[&str]) -> AppResponse {
        match (self.guard_unmatched)(&self.state, request) {
            Err(response) => response,
            Ok(()) if allowed.is_empty() => self.errors.no_route(),
            Ok(()) => self.errors.method_not_allowed(&allowed.join(", ")),
        }
    }
}

impl<S: Send + Sync + 'static> HttpApp for Router<S> {
    fn matches(&self, path: &str) -> bool {
        self.folders.iter().any(|folder| is_below(path, folder))
            || self
                .routes
                .iter()
                .any(|route| route.pattern.match_path(path, self.parse_param).is_some())
    }

    fn body_limit(&self) -> usize {
        self.max_body_bytes
    }

    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse> {
        let mut allowed = Vec::new();
        for route in &self.routes {
            let Some(params) = route.pattern.match_path(request.path(), self.parse_param) else {
                continue;
            };
            if route.verb.matches(request.method()) {
                return (route.authorize)(&self.state, request, params);
            }
            allowed.push(route.verb.allowed());
        }
        Err(self.unmatched(request, &allowed))
    }

    fn unknown_path(&self) -> Option<AppResponse> {
        self.answers_unknown_paths.then(|| self.errors.no_route())
    }

    fn error_response(
        &self,
        status: u16,
        code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        (self.on_server_error)(&self.state);
        self.server_errors.response(status, code, message)
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router")
            .field("folders", &self.folders)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
