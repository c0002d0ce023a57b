//! The apps that are mounted on a listener, and their WebSockets.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::app_http::HttpApp;
use crate::app_message::{AppRequest, AppResponse};
use crate::mount::MountedService;
use latido_admission::WS_PATH;
use latido_shard::{HandlerSpec, InBandUpgrade};

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

    /// Returns whether the server refuses pages whose origin is not allowed. An app whose clients
    /// prove their identity by a secret in their first message need not care about pages; its
    /// devices may send any constant as their origin.
    fn checks_origin(&self) -> bool {
        true
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
    /// The origins whose pages may use the cookies of the apps.
    pub cookie_origins: Vec<String>,
    /// The parts of `/openapi.json` that describe the apps' addresses.
    pub openapi: Vec<&'static str>,
    /// True if the listener is dedicated to apps: then their addresses are tried before the
    /// server's own.
    pub is_dedicated: bool,
}

impl AppMounts {
    /// Returns the HTTP app that answers a path.
    pub(super) fn http_app(&self, path: &str) -> Option<Arc<dyn HttpApp>> {
        self.http_apps.iter().find(|app| app.matches(path)).cloned()
    }

    /// Returns the app that answers unknown paths, if one does.
    pub(super) fn unknown_path_app(&self) -> Option<Arc<dyn HttpApp>> {
        let mut apps = self.http_apps.iter().filter(|_| self.is_dedicated);
        apps.find(|app| app.unknown_path().is_some()).cloned()
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
