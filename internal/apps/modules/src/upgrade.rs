//! The WebSocket endpoint of devices.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_http::{AppRequest, AppResponse, HandlerSpec, WebSocketApp};
use latido_session::SessionLimits;

use crate::app::ModulesApp;
use crate::config::NAME;
use crate::device::frame::MAX_FRAME_BYTES;
use crate::device_connection::DeviceConnection;

/// The WebSocket path of devices.
const DEVICE_PATH: &str = "/esp32";
/// The intervals of pings to a device and of silence until it is closed. Firmware sends a heartbeat
/// every 30 s.
const PING_INTERVAL_S: u32 = 30;
const IDLE_TIMEOUT_S: u32 = 75;

/// The WebSocket endpoint of devices.
pub(super) struct DeviceUpgrade {
    app: Arc<ModulesApp>,
    limits: SessionLimits,
}

impl DeviceUpgrade {
    /// Creates the endpoint; `limits` are those of other WebSocket connections.
    pub(super) fn new(app: Arc<ModulesApp>, limits: SessionLimits) -> Self {
        let message_bytes = u32::try_from(MAX_FRAME_BYTES).unwrap_or(u32::MAX);
        Self {
            app,
            limits: SessionLimits {
                message_bytes,
                heartbeat_s: PING_INTERVAL_S,
                idle_timeout_s: IDLE_TIMEOUT_S,
                ..limits
            },
        }
    }
}

impl WebSocketApp for DeviceUpgrade {
    fn matches(&self, path: &str) -> bool {
        path == DEVICE_PATH
    }

    /// Devices prove their identity in their first frame, and libraries for them send constants
    /// such as `file://`. Without that proof, pages must be kept away.
    fn checks_origin(&self) -> bool {
        self.app.config.trust_clients
    }

    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let (app, limits) = (Arc::clone(&self.app), self.limits);
        let address = request.client.map(|client| client.ip());
        // Devices authenticate in their first frame, so every upgrade is accepted.
        Box::pin(async move {
            Ok(HandlerSpec::new(NAME, move |context| {
                Box::new(DeviceConnection::new(app, address, &context))
            })
            .limits(limits))
        })
    }
}
