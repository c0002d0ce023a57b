//! Adapts the app's routes to the HTTP server's traits.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_app_kit::Parts;
use latido_http::{Answer, Asked, HandlerSpec, Pier, Site};
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
    pub(super) fn new(app: Arc<Modules>, deps: &Parts) -> Self {
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

impl Site for Harbour {
    fn has(&self, path: &str) -> bool {
        Address::of(path).is_some()
    }

    fn body_limit(&self) -> usize {
        BODY_BYTES
    }

    fn admit(&self, request: &Asked) -> Result<(), Answer> {
        let Some(route) = Address::of(request.path()) else {
            return Ok(());
        };
        let methods = route.methods();
        if !methods.contains(&request.method()) {
            return Err(
                Answer::json(405, r#"{"success":false,"error":"Method not allowed"}"#)
                    .with("allow", methods.join(", ")),
            );
        }
        // The body of an unauthorised request is not read.
        match self.app.admit(route, |name| request.header(name)) {
            Some(error) => Err(answer(error)),
            None => Ok(()),
        }
    }

    fn answer(&self, request: Asked) -> BoxFuture<'static, Answer> {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            let Some(route) = Address::of(request.path()) else {
                return Answer::json(404, "{}");
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

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Json(status, body) => Answer::json(status, body.to_string()),
        Reply::Script(text) => Answer {
            status: 200,
            headers: Vec::new(),
            body: text.into(),
        }
        .with("content-type", "application/javascript; charset=utf-8")
        .with("cache-control", SCRIPT_KEPT),
    }
}

impl Pier for Harbour {
    fn has(&self, path: &str) -> bool {
        path == DEVICES
    }

    fn board(&self, _asked: Asked) -> BoxFuture<'static, Result<HandlerSpec, Answer>> {
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
