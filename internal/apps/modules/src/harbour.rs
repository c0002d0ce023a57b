//! Adapts the app's routes to the HTTP server's traits.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_app_kit::AppDeps;
use latido_http::{AppResponse, AppRequest, HandlerSpec, WebSocketApp, HttpApp};
use latido_session::SessionLimits;

use crate::addresses::{Address, BODY_BYTES, Reply};
use crate::device::frame::FRAME_BYTES;
use crate::guest::Device;
use crate::{Modules, NAME};

/// The WebSocket path of devices.
const DEVICES: &str = "/esp32";
/// The intervals of pings to a device and of silence until it is closed. Firmware sends a heartbeat
/// every 30 s.
const HEARTBEAT_S: u32 = 30;
const SILENCE_S: u32 = 75;
/// The script changes only with a new server version.
const SCRIPT_KEPT: &str = "public, max-age=3600";

pub(super) struct Harbour {
    app: Arc<Modules>,
    limits: SessionLimits,
}

impl Harbour {
    pub(super) fn new(app: Arc<Modules>, deps: &AppDeps) -> Self {
        let message_bytes = u32::try_from(FRAME_BYTES).unwrap_or(u32::MAX);
        Self {
            app,
            limits: SessionLimits {
                message_bytes,
                heartbeat_s: HEARTBEAT_S,
                idle_timeout_s: SILENCE_S,
                ..deps.limits
            },
        }
    }
}

impl HttpApp for Harbour {
    fn matches(&self, path: &str) -> bool {
        Address::of(path).is_some()
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn authorize(&self, request: &AppRequest) -> Result<(), AppResponse> {
        let Some(route) = Address::of(request.path()) else {
            return Ok(());
        };
        let methods = route.methods();
        if !methods.contains(&request.method()) {
            return Err(
                AppResponse::json(405, r#"{"success":false,"error":"Method not allowed"}"#)
                    .with_header("allow", methods.join(", ")),
            );
        }
        // The body of an unauthorised request is not read.
        match self.app.admit(route, |name| request.header(name)) {
            Some(error) => Err(answer(error)),
            None => Ok(()),
        }
    }

    fn handle(&self, request: AppRequest) -> BoxFuture<'static, AppResponse> {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            let Some(route) = Address::of(request.path()) else {
                return AppResponse::json(404, "{}");
            };
            answer(
                app.reply(
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

fn answer(reply: Reply) -> AppResponse {
    match reply {
        Reply::Json(status, body) => AppResponse::json(status, body.to_string()),
        Reply::Script(text) => AppResponse {
            status: 200,
            headers: Vec::new(),
            body: text.into(),
        }
        .with_header("content-type", "application/javascript; charset=utf-8")
        .with_header("cache-control", SCRIPT_KEPT),
    }
}

impl WebSocketApp for Harbour {
    fn matches(&self, path: &str) -> bool {
        path == DEVICES
    }

    fn upgrade(&self, _asked: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let (app, limits) = (Arc::clone(&self.app), self.limits);
        // Devices authenticate in their first frame, so every upgrade is accepted.
        Box::pin(async move {
            Ok(
                HandlerSpec::new(NAME, move |context| Box::new(Device::new(app, &context)))
                    .limits(limits),
            )
        })
    }
}
