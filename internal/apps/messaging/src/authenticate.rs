//! The authentication of a client, over any transport.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::json;

use crate::api_version::ClientApiVersion;
use crate::connection::VerifiedClient;
use crate::shared::MessagingShared;
use latido_app_kit::ErrorFormat;
use latido_auth::TokenSender;
use latido_http::AppRequest;
use latido_protocol::phoenix::SerializerVersion;

/// The form of the app's error responses.
pub(super) const ERRORS: ErrorFormat = ErrorFormat {
    body: |_, message| json!({"error": message}),
    not_found: "nothing is here",
    method_not_allowed: "this address has another method",
};

/// The prefix of the subprotocol that carries the token.
const BEARER_PREFIX: &str = "base64url.bearer.phx.";

/// The reason why a client is not connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// The client or its token is not valid, as the text says.
    Forbidden(&'static str),
    /// The token can't be checked now, or the server does not know its position in the changes yet.
    Unavailable,
}

/// Verifies the token of a client that wants to connect, and reads its versions from the request.
pub(super) async fn authenticate(
    shared: &MessagingShared,
    request: &AppRequest,
    token: Option<String>,
) -> Result<VerifiedClient, Rejection> {
    let vsn = SerializerVersion::parse(request.query("vsn").as_deref())
        .ok_or(Rejection::Forbidden("unknown vsn"))?;
    let token = token.ok_or(Rejection::Forbidden("a token is required"))?;
    let sender = TokenSender::at(request.client.map(|client| client.ip()));
    let principal = shared
        .verifier
        .verify(&token, &sender)
        .await
        .map_err(|error| match error.is_temporary() {
            true => Rejection::Unavailable,
            false => {
                tracing::debug!(reason = error.reason(), "a messaging client was refused");
                Rejection::Forbidden("the token is not valid")
            }
        })?;
    let user_id = principal
        .user()
        .as_str()
        .parse()
        .map_err(|_| Rejection::Forbidden("the token's sub must be a UUID"))?;
    // A client that joins before the feed knows its start position could miss events in between.
    if !shared.trigger.is_ready() {
        return Err(Rejection::Unavailable);
    }
    let assumed = shared.assumed_api_version;
    Ok(VerifiedClient {
        user_id,
        principal: Arc::new(principal),
        vsn,
        api_version: assumed.unwrap_or_else(|| ClientApiVersion::of_address(request.path())),
    })
}

/// Extracts the token from the subprotocols that a client offers.
pub(super) fn offered_token(offered: &str) -> Option<String> {
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
