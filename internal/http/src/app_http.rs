//! The interface between apps and a listener: HTTP addresses ([`HttpApp`]) and WebSockets
//! ([`WebSocketApp`]), in types of this crate, so that no app names warp.
//!
//! The rules common to all addresses are applied here: allowed origins, the largest body, the
//! deadlines.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tracing::warn;
use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::body::{self, BodyReadError};
use crate::error::json_error;
use crate::mount::MountedService;
use crate::request::RequestHead;
use crate::{Response, ServerState, TrustedProxies};

use latido_net::query;
pub use latido_shard::HandlerSpec;
use latido_shard::InBandUpgrade;

/// The path of the server's native WebSockets.
pub(super) const WS_PATH: &str = "/ws";
/// The time an app may take to answer a complete request.
const APP_TIMEOUT: Duration = Duration::from_secs(10);

/// The handler of one authorized request.
pub type AppHandler = Box<dyn FnOnce(AppRequest) -> BoxFuture<'static, AppResponse> + Send>;

/// The HTTP addresses of an app.
pub trait HttpApp: Send + Sync {
    /// Returns whether the app answers this path, for any method; a wrong method is a 405 with
    /// `Allow`. The path is as received, not decoded.
    fn matches(&self, path: &str) -> bool;

    /// Returns the largest body the app accepts, in bytes.
    fn body_limit(&self) -> usize;

    /// Matches a request with a route and authenticates its client, before the body is read; `body`
    /// is empty here. Returns the handler of the request, which is called at most once, with the
    /// body. Its future is dropped after ten seconds, or when the client has disconnected.
    ///
    /// # Errors
    /// Returns the response that is sent instead of the handler's.
    fn authorize(&self, request: &AppRequest) -> Result<AppHandler, AppResponse>;

    /// Formats an error that the server answers on the app's behalf: 400 (the body broke off), 408,
    /// 413 or 503.
    fn error_response(
        &self,
        status: u16,
        code: &'static str,
        message: &'static str,
    ) -> AppResponse {
        AppResponse::json(status, json_error(code, message))
    }
}

/// The WebSocket addresses of an app.
pub trait WebSocketApp: Send + Sync {
    /// Returns whether the app answers this path. Of `/ws` it gets the requests without a token,
    /// and those whose token it [claims](WebSocketApp::claims_token).
    fn matches(&self, path: &str) -> bool;

    /// Returns whether an unverified token looks like one of the app's. A `/ws` request with a
    /// token reaches the app only then.
    fn claims_token(&self, _token: &str) -> bool {
        false
    }

    /// Returns the handler that moves native clients of `/ws` to the app's protocol, if the app
    /// supports that.
    fn in_band_upgrade(&self) -> Option<Arc<dyn InBandUpgrade>> {
        None
    }

    /// Authenticates a request; this may take a few seconds. Origin and handshake were already
    /// checked.
    ///
    /// # Errors
    /// Returns the response that is sent instead of the 101.
    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>>;
}

/// The apps mounted on one listener.
#[derive(Clone, Default)]
pub struct AppMounts {
    /// The names of the apps, for logs.
    pub apps: Vec<&'static str>,
    /// The HTTP apps, tried in this order.
    pub http_apps: Vec<Arc<dyn HttpApp>>,
    /// The WebSocket apps, tried in this order.
    pub websocket_apps: Vec<Arc<dyn WebSocketApp>>,
    /// The Socket.IO mount, shared by all apps.
    pub socketio_mount: Option<Arc<dyn MountedService>>,
    /// True if the listener is dedicated to apps: then their addresses are tried before the
    /// server's own.
    pub is_dedicated: bool,
}

impl AppMounts {
    /// Returns the HTTP app that answers a path.
    pub(super) fn http_app(&self, path: &str) -> Option<Arc<dyn HttpApp>> {
        self.http_apps.iter().find(|app| app.matches(path)).cloned()
    }

    /// Returns the extension of `/ws`, if an app has one.
    pub(super) fn ws_extension(&self) -> Option<WsExtension> {
        let app = self.websocket_app(WS_PATH)?;
        let in_band_upgrade = app.in_band_upgrade();
        Some(WsExtension {
            app,
            in_band_upgrade,
        })
    }

    /// Returns the WebSocket app that answers a path.
    pub(super) fn websocket_app(&self, path: &str) -> Option<Arc<dyn WebSocketApp>> {
        self.websocket_apps
            .iter()
            .find(|app| app.matches(path))
            .cloned()
    }
}

impl fmt::Debug for AppMounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Annex")
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

/// An app's extension of `/ws`.
#[derive(Clone)]
pub(super) struct WsExtension {
    pub(super) app: Arc<dyn WebSocketApp>,
    pub(super) in_band_upgrade: Option<Arc<dyn InBandUpgrade>>,
}

/// A request to an app. Its `Debug` omits headers and query, which may hold a token.
pub struct AppRequest {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    /// The whole body of the request.
    pub body: Bytes,
    /// The address of the client: the one that trusted proxies name, else the connection's remote
    /// address.
    pub client: Option<SocketAddr>,
}

impl AppRequest {
    /// Creates a request without headers and body, for tests; others come from a connection.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Self {
            method: Method::from_str(method).unwrap_or_default(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            client: None,
        }
    }

    pub(super) fn from_head(head: &RequestHead, path: &str, proxies: &TrustedProxies) -> Self {
        let (method, query) = (head.method.clone(), head.query.clone());
        let client = head
            .peer
            .as_ref()
            .map(|peer| proxies.client_addr(peer.address(), &head.headers));
        Self {
            method,
            path: path.to_owned(),
            query,
            headers: head.headers.clone(),
            body: Bytes::new(),
            client,
        }
    }

    /// Adds a header. An invalid name or value is ignored.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) {
            self.headers.append(name, value);
        }
        self
    }

    /// Sets the body of the request.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Returns the method, such as `GET` or `POST`.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Returns the path as received: its segments may be percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the first non-empty value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        query::value(&self.query, name)
    }

    /// Returns the first line of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the first line of a header as received.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    /// Returns the token: from `Authorization: Bearer`, else the subprotocol `bearer`, else
    /// `?token=`.
    pub fn token(&self) -> Option<String> {
        crate::request::token(&self.headers, &self.query)
    }
}

impl fmt::Debug for AppRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An app's response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The headers, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body of the response.
    pub body: Bytes,
}

impl AppResponse {
    /// Creates a JSON response that must not be cached (`no-store`).
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
        .with_header(CONTENT_TYPE.as_str(), "application/json")
        .with_header(CACHE_CONTROL.as_str(), "no-store")
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = Response::new(self.body.into());
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .append(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

/// Serves a request to an app.
pub(super) async fn serve_app_request<B: Buf, E>(
    state: Arc<ServerState>,
    app: Arc<dyn HttpApp>,
    path: String,
    head: RequestHead,
    body: impl Stream<Item = Result<B, E>>,
) -> Response {
    let mut request = AppRequest::from_head(&head, &path, &state.config.proxies);
    let handle = match app.authorize(&request) {
        Ok(handle) => handle,
        Err(response) => return response.into_response(),
    };
    let closing =
        |response: AppResponse| response.with_header("connection", "close").into_response();
    request.body = match timeout(
        state.config.app_body_timeout,
        body::collect_body(body, app.body_limit()),
    )
    .await
    {
        Ok(Ok(body)) => body.into(),
        Ok(Err(BodyReadError::TooLarge)) => {
            return closing(app.error_response(413, "too_large", "the body is too large"));
        }
        Ok(Err(BodyReadError::Incomplete)) => {
            return closing(app.error_response(400, "bad_request", "the body broke off"));
        }
        Err(_) => return closing(app.error_response(408, "slow_body", "the body took too long")),
    };
    let response = timeout(APP_TIMEOUT, handle(request))
        .await
        .unwrap_or_else(|_| {
            warn!(path, "an app took too long to answer a request");
            app.error_response(503, "unavailable", "no answer in time; ask again later")
        });
    response.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_request_exposes_path_query_and_headers() {
        let request = AppRequest::new("POST", "/a%20b?token=x&y=%41")
            .with_header("X-API-Key", "k")
            .with_header("bad name", "v");
        assert_eq!(
            (
                request.method(),
                request.path(),
                request.query("y").as_deref()
            ),
            ("POST", "/a%20b", Some("A"))
        );
        assert_eq!(
            (request.header("x-api-key"), request.token().as_deref()),
            (Some("k"), Some("x"))
        );
        assert!(!format!("{request:?}").contains("token"));
    }

    #[test]
    fn app_response_becomes_an_http_response() {
        let response = AppResponse::json(202, "{}")
            .with_header("retry-after", "1")
            .into_response();
        assert_eq!(
            (response.status().as_u16(), response.headers().len()),
            (202, 3)
        );
        assert_eq!(
            AppResponse::json(1, "").into_response().status().as_u16(),
            500
        );
    }
}
