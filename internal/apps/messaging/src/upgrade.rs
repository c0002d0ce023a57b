//! The WebSocket upgrade: two paths, a token in one of two places, and 403 for clients without a
//! valid token.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::connection::{PhoenixConnection, VerifiedClient};
use crate::name::NAME;
use crate::running::MessagingApp;
use crate::shared::MessagingShared;
use latido_app_kit::ErrorFormat;
use latido_auth::TokenSender;
use latido_http::{AppRequest, AppResponse, HandlerSpec, WebSocketApp};
use latido_protocol::phoenix::SerializerVersion;
use latido_shard::ProtocolHandler;

/// The paths that clients connect to; the mobile app uses the second one.
const PATHS: [&str; 2] = ["/socket/websocket", "/messaging/socket/websocket"];

/// The form of the app's error responses.
const ERRORS: ErrorFormat = ErrorFormat {
    body: |_, message| json!({"error": message}),
    not_found: "nothing is here",
    method_not_allowed: "this address has another method",
};

/// The subprotocol that Phoenix 1.8 clients offer in addition to the token, and that the server
/// selects.
const SUBPROTOCOL: &str = "phoenix";
/// The prefix of the subprotocol that carries the token.
const BEARER_PREFIX: &str = "base64url.bearer.phx.";

impl WebSocketApp for MessagingApp {
    fn matches(&self, path: &str) -> bool {
        PATHS.contains(&path)
    }

    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(upgrade(shared, request))
    }
}

async fn upgrade(
    shared: Arc<MessagingShared>,
    request: AppRequest,
) -> Result<HandlerSpec, AppResponse> {
    let vsn = SerializerVersion::parse(request.query("vsn").as_deref())
        .ok_or_else(|| forbidden("unknown vsn"))?;
    let offered = request.header("sec-websocket-protocol").unwrap_or_default();
    let token = request
        .query("token")
        .or_else(|| offered_token(offered))
        .ok_or_else(|| forbidden("a token is required"))?;
    let sender = TokenSender::at(request.client.map(|client| client.ip()));
    let principal = shared
        .verifier
        .verify(&token, &sender)
        .await
        .map_err(|error| match error.is_temporary() {
            true => unavailable(),
            false => {
                tracing::debug!(reason = error.reason(), "a messaging client was refused");
                forbidden("the token is not valid")
            }
        })?;
    let user = principal
        .user()
        .as_str()
        .parse()
        .map_err(|_| forbidden("the token's sub must be a UUID"))?;
    // A client that joins before the feed knows its start position could miss events in between.
    if !shared.trigger.is_ready() {
        return Err(unavailable());
    }
    let verified = VerifiedClient {
        user_id: user,
        principal: Arc::new(principal),
        vsn,
    };
    let limits = shared.limits;
    let is_offered = offered.split(',').any(|name| name.trim() == SUBPROTOCOL);
    let make = move |context| {
        Box::new(PhoenixConnection::new(shared, verified, &context)) as Box<dyn ProtocolHandler>
    };
    Ok(HandlerSpec::new(NAME, make)
        .limits(limits)
        .subprotocol(is_offered.then_some(SUBPROTOCOL)))
}

fn forbidden(reason: &str) -> AppResponse {
    ERRORS.forbidden(reason)
}

fn unavailable() -> AppResponse {
    ERRORS.retry_later("unavailable")
}

/// Extracts the token from the subprotocols that a client offers.
fn offered_token(offered: &str) -> Option<String> {
    let encoded = offered
        .split(',')
        .find_map(|name| name.trim().strip_prefix(BEARER_PREFIX))?;
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // Browsers encode it with `btoa`, which uses the standard alphabet, not the URL-safe one.
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(encoded).ok();
    String::from_utf8(decode(&URL_SAFE).or_else(|| decode(&STANDARD))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_read_from_the_subprotocol() {
        for (offered, token) in [
            ("phoenix, base64url.bearer.phx.YS5iLmM", Some("a.b.c")),
            ("phoenix,base64url.bearer.phx.YS5iLmM=", Some("a.b.c")),
            ("phoenix, base64url.bearer.phx.Pz8+Pz8/", Some("??>???")),
            ("phoenix, base64url.bearer.phx.Pz8-Pz8_", Some("??>???")),
            ("phoenix, base64url.bearer.phx.%%%", None),
            ("phoenix", None),
            ("", None),
        ] {
            assert_eq!(offered_token(offered).as_deref(), token, "{offered}");
        }
    }
}
