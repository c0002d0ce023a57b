//! The WebSocket upgrade: two paths, a token in one of two places, and 403 for clients without a
//! valid token.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::authenticate::{ERRORS, Rejection, authenticate, offered_token};
use crate::connection::{PhoenixConnection, VerifiedClient};
use crate::name::NAME;
use crate::running::MessagingApp;
use crate::shared::MessagingShared;
use latido_http::{AppRequest, AppResponse, HandlerSpec, WebSocketApp};
use latido_shard::ProtocolHandler;

/// The paths that clients connect to; the mobile app uses the second one.
const PATHS: [&str; 2] = ["/socket/websocket", "/messaging/socket/websocket"];

/// The subprotocol that Phoenix 1.8 clients offer in addition to the token, and that the server
/// selects.
const SUBPROTOCOL: &str = "phoenix";

impl WebSocketApp for MessagingApp {
    fn matches(&self, path: &str) -> bool {
        PATHS.contains(&path)
    }

    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            upgrade(shared, request)
                .await
                .map_err(|rejection| match rejection {
                    Rejection::Forbidden(reason) => ERRORS.forbidden(reason),
                    Rejection::Unavailable => ERRORS.retry_later("unavailable"),
                })
        })
    }
}

async fn upgrade(
    shared: Arc<MessagingShared>,
    request: AppRequest,
) -> Result<HandlerSpec, Rejection> {
    let offered = request.header("sec-websocket-protocol").unwrap_or_default();
    let token = request.query("token").or_else(|| offered_token(offered));
    let verified = authenticate(&shared, &request, token).await?;
    let is_offered = offered.split(',').any(|name| name.trim() == SUBPROTOCOL);
    Ok(handler_spec(shared, verified).subprotocol(is_offered.then_some(SUBPROTOCOL)))
}

/// Returns the specification of a verified client's connection.
pub(super) fn handler_spec(shared: Arc<MessagingShared>, verified: VerifiedClient) -> HandlerSpec {
    let limits = shared.limits;
    let make = move |context| {
        Box::new(PhoenixConnection::new(shared, verified, &context)) as Box<dyn ProtocolHandler>
    };
    HandlerSpec::new(NAME, make).limits(limits)
}
