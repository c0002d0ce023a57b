//! Adapts the app's routes to the HTTP server's traits.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_app_kit::AppDeps;
use latido_http::{AppRequest, AppResponse, HandlerSpec, HttpApp, WebSocketApp};
use latido_session::SessionLimits;

use crate::device::frame::MAX_FRAME_BYTES;
use crate::device_connection::DeviceConnection;
use crate::routes::{MAX_BODY_BYTES, ModulesRoute, RouteResponse};
use crate::{ModulesApp, NAME};

/// The WebSocket path of devices.
const DEVICE_PATH: &str = "/esp32";
/// The intervals of pings to a device and of silence until it is closed. Firmware sends a heartbeat
/// every 30 s.
const PING_INTERVAL_S: u32 = 30;
const IDLE_TIMEOUT_S: u32 = 75;
/// The script changes only with a new server version.
const SCRIPT_CACHE_CONTROL: &str = "public, max-age=3600";

pub(super) struct ModulesMount {
    app: Arc<ModulesApp>,
    limits: SessionLimits,
}

impl ModulesMount {
    pub(super) fn new(app: Arc<ModulesApp>, deps: &AppDeps) -> Self {
        let message_bytes = u32::try_from(MAX_FRAME_BYTES).unwrap_or(u32::MAX);
        Self {
            app,
            limits: SessionLimits {
                message_bytes,
                heartbeat_s: PING_INTERVAL_S,
                idle_timeout_s: IDLE_TIMEOUT_S,
                ..deps.limits
            },
        }
    }
}

impl HttpApp for ModulesMount {
    fn matches(&self, path: &str) -> bool {
        ModulesRoute::parse(path).is_some()
    }

    fn body_limit(&self) -> usize {
        MAX_BODY_BYTES
    }

    fn authorize(&self, request: &AppRequest) -> Result<(), AppResponse> {
        let Some(route) = ModulesRoute::parse(request.path()) else {
            return Ok(());
        };
        let methods = route.methods();
        if !methods.contains(&request.method()) {
            return Err(AppResponse::json(
                405,
                r#"{"success":false,"error":"Method not allowed"}"#,
            )
            .with_header("allow", methods.join(", ")));
        }
        // The body of an unauthorised request is not read.
        match self.app.authorize(route, |name| request.header(name)) {
            Some(error) => Err(to_http_response(error)),
            None => Ok(()),
        }
    }

    fn handle(&self, request: AppRequest) -> BoxFuture<'static, AppResponse> {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            let Some(route) = ModulesRoute::parse(request.path()) else {
                return AppResponse::json(404, "{}");
            };
            to_http_response(
                app.handle_request(
                    route,
                    request.token(),
                    |name| request.header(name),
                    &request.body,
                )
                .await,
            )
        })
    }
}

fn to_http_response(reply: RouteResponse) -> AppResponse {
    match reply {
        RouteResponse::Json(status, body) => AppResponse::json(status, body.to_string()),
        RouteResponse::Script(text) => AppResponse {
            status: 200,
            headers: Vec::new(),
            body: text.into(),
        }
        .with_header("content-type", "application/javascript; charset=utf-8")
        .with_header("cache-control", SCRIPT_CACHE_CONTROL),
    }
}

impl WebSocketApp for ModulesMount {
    fn matches(&self, path: &str) -> bool {
        path == DEVICE_PATH
    }

    fn upgrade(&self, _asked: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let (app, limits) = (Arc::clone(&self.app), self.limits);
        // Devices authenticate in their first frame, so every upgrade is accepted.
        Box::pin(async move {
            Ok(HandlerSpec::new(NAME, move |context| {
                Box::new(DeviceConnection::new(app, &context))
            })
            .limits(limits))
        })
    }
}
