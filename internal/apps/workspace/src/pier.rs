//! WebSocket upgrades of the app: without a token, with a workspace token, or later, when a client
//! of the streams sends a workspace `auth` frame.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::claims::{Credentials, USER_CLAIMS, looks_ours};
use crate::guest::WorkspaceGuest;
use crate::wire::{self, Incoming};
use crate::{NAME, Shared, site};
use latido_auth::Principal;
use latido_http::{Answer, Asked, HandlerSpec, Pier};
use latido_shard::InBandUpgrade;

const PATH: &str = "/ws";

/// The WebSocket endpoint of the app, which also upgrades native connections in band.
#[derive(Clone)]
pub(super) struct Entrance(pub(super) Arc<Shared>);

impl Entrance {
    /// Builds the handler specification of a connection, with the token of the upgrade request if
    /// any.
    fn boarding(&self, credentials: Option<Credentials>, is_native: bool) -> HandlerSpec {
        let shared = Arc::clone(&self.0);
        let principal = credentials
            .as_ref()
            .map(|credentials| Arc::clone(&credentials.principal));
        let make = move |context| WorkspaceGuest::boxed(shared, context, credentials, is_native);
        HandlerSpec {
            principal,
            ..HandlerSpec::new(NAME, make).limits(self.0.limits)
        }
    }
}

impl Pier for Entrance {
    fn has(&self, path: &str) -> bool {
        path == PATH
    }

    fn wants(&self, token: &str) -> bool {
        looks_ours(token)
    }

    fn interpreter(&self) -> Option<Arc<dyn InBandUpgrade>> {
        Some(Arc::new(self.clone()))
    }

    fn board(&self, request: Asked) -> BoxFuture<'static, Result<HandlerSpec, Answer>> {
        let this = self.clone();
        async move {
            let Some(token) = request.token() else {
                return Ok(this.boarding(None, false));
            };
            match this.0.verifier.verify_claims(&token, &USER_CLAIMS).await {
                Ok(verified) => Ok(this.boarding(Some(Credentials::of(verified)), true)),
                Err(error) => {
                    tracing::debug!(reason = error.reason(), "a token was refused");
                    this.0.metrics.count_refusal("token");
                    Err(if error.is_temporary() {
                        site::unavailable()
                    } else {
                        site::unauthorized()
                    })
                }
            }
        }
        .boxed()
    }
}

impl InBandUpgrade for Entrance {
    fn matches(&self, text: &str) -> bool {
        matches!(wire::decode(text), Incoming::Auth(_))
    }

    fn upgrade(&self, _: &Arc<Principal>) -> HandlerSpec {
        self.boarding(None, true)
    }
}
