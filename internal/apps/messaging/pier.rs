//! The door: two addresses, a token in one of two places, and 403 for whoever has none that counts.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::apps::messaging::guest::{Client, Passport};
use crate::apps::messaging::{Messaging, NAME, Shared};
use crate::http::{Answer, Asked, Boarding, Pier};
use crate::protocol::phoenix::Vsn;
use crate::shard::Guest;

/// Where clients connect; the second is the mobile app's.
const PATHS: [&str; 2] = ["/socket/websocket", "/messaging/socket/websocket"];

/// What clients of Phoenix 1.8 offer beside the token, and get back.
const SUBPROTOCOL: &str = "phoenix";
/// What stands before the token there.
const BEARER: &str = "base64url.bearer.phx.";

impl Pier for Messaging {
    fn has(&self, path: &str) -> bool {
        PATHS.contains(&path)
    }

    fn board(&self, asked: Asked) -> BoxFuture<'static, Result<Boarding, Answer>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(board(shared, asked))
    }
}

async fn board(shared: Arc<Shared>, asked: Asked) -> Result<Boarding, Answer> {
    let vsn = Vsn::parse(asked.query("vsn").as_deref()).ok_or_else(|| refusal("unknown vsn"))?;
    let offered = asked.header("sec-websocket-protocol").unwrap_or_default();
    let token = asked
        .query("token")
        .or_else(|| bearer(offered))
        .ok_or_else(|| refusal("a token is required"))?;
    let principal =
        shared
            .verifier
            .verify(&token)
            .await
            .map_err(|error| match error.is_temporary() {
                true => unavailable(),
                false => {
                    tracing::debug!(reason = error.reason(), "a messaging client was refused");
                    refusal(&error.to_string())
                }
            })?;
    let user = principal
        .user()
        .as_str()
        .parse()
        .map_err(|_| refusal("the token's sub must be a UUID"))?;
    // Whoever entered before the feed knows where it begins could miss what is said meanwhile.
    if !shared.hints.is_ready() {
        return Err(unavailable());
    }
    let passport = Passport {
        user,
        principal: Arc::new(principal),
        vsn,
    };
    let limits = shared.limits;
    let is_offered = offered.split(',').any(|name| name.trim() == SUBPROTOCOL);
    let make = move |berth| Box::new(Client::new(shared, passport, &berth)) as Box<dyn Guest>;
    Ok(Boarding::new(NAME, make)
        .limits(limits)
        .subprotocol(is_offered.then_some(SUBPROTOCOL)))
}

fn refusal(reason: &str) -> Answer {
    Answer::json(403, json!({"error": reason}).to_string())
}

fn unavailable() -> Answer {
    Answer::json(503, json!({"error": "unavailable"}).to_string()).with("retry-after", "1")
}

/// The token among the subprotocols that a client offers.
fn bearer(offered: &str) -> Option<String> {
    let encoded = offered
        .split(',')
        .find_map(|name| name.trim().strip_prefix(BEARER))?;
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // Browsers make it with `btoa`, whose alphabet is the other one.
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(encoded).ok();
    String::from_utf8(decode(&URL_SAFE).or_else(|| decode(&STANDARD))?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_the_subprotocol() {
        for (offered, token) in [
            ("phoenix, base64url.bearer.phx.YS5iLmM", Some("a.b.c")),
            ("phoenix,base64url.bearer.phx.YS5iLmM=", Some("a.b.c")),
            ("phoenix, base64url.bearer.phx.Pz8+Pz8/", Some("??>???")),
            ("phoenix, base64url.bearer.phx.Pz8-Pz8_", Some("??>???")),
            ("phoenix, base64url.bearer.phx.%%%", None),
            ("phoenix", None),
            ("", None),
        ] {
            assert_eq!(bearer(offered).as_deref(), token, "{offered}");
        }
    }
}
