//! WebSocket upgrades of the app: without a token, with a workspace token, or later, when a client
//! of the streams sends a workspace `auth` frame.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::claims::{TokenClaims, USER_CLAIMS, is_workspace_token};
use crate::connection::WorkspaceConnection;
use crate::routes;
use crate::shared::{NAME, WorkspaceShared};
use crate::wire::{self, WorkspaceFrame};
use latido_auth::{Principal, TokenSender};
use latido_http::{AppRequest, AppResponse, HandlerSpec, WebSocketApp};
use latido_shard::InBandUpgrade;

const UPGRADE_PATH: &str = "/ws";

/// The WebSocket endpoint of the app, which also upgrades native connections in band.
#[derive(Clone)]
pub(super) struct WorkspaceUpgrade(pub(super) Arc<WorkspaceShared>);

impl WorkspaceUpgrade {
    /// Builds the handler specification of a connection, with the token of the upgrade request if
    /// any.
    fn handler_spec(
        &self,
        sender: TokenSender,
        credentials: Option<TokenClaims>,
        is_native: bool,
    ) -> HandlerSpec {
        let shared = Arc::clone(&self.0);
        let principal = credentials
            .as_ref()
            .map(|credentials| Arc::clone(&credentials.principal));
        let make = move |context| {
            WorkspaceConnection::new_boxed(shared, context, sender, credentials, is_native)
        };
        HandlerSpec {
            principal,
            ..HandlerSpec::new(NAME, make).limits(self.0.limits)
        }
    }
}

impl WebSocketApp for WorkspaceUpgrade {
    fn matches(&self, path: &str) -> bool {
        path == UPGRADE_PATH
    }

    fn claims_token(&self, token: &str) -> bool {
        is_workspace_token(token)
    }

    fn in_band_upgrade(&self) -> Option<Arc<dyn InBandUpgrade>> {
        Some(Arc::new(self.clone()))
    }

    fn upgrade(&self, request: AppRequest) -> BoxFuture<'static, Result<HandlerSpec, AppResponse>> {
        let this = self.clone();
        async move {
            let sender = TokenSender::at(request.client.map(|client| client.ip()));
            let Some(token) = request.token() else {
                return Ok(this.handler_spec(sender, None, false));
            };
            match this
                .0
                .verifier
                .verify_claims(&token, &sender, &USER_CLAIMS)
                .await
            {
                Ok(verified) => {
                    let claims = TokenClaims::from_verified(verified);
                    Ok(this.handler_spec(sender, Some(claims), true))
                }
                Err(error) => {
                    tracing::debug!(reason = error.reason(), "a token was refused");
                    this.0.metrics.count_refusal("token");
                    Err(if error.is_temporary() {
                        routes::unavailable()
                    } else {
                        routes::unauthorized()
                    })
                }
            }
        }
        .boxed()
    }
}

impl InBandUpgrade for WorkspaceUpgrade {
    fn matches(&self, text: &str) -> bool {
        matches!(wire::decode(text), WorkspaceFrame::Auth(_))
    }

    fn upgrade(&self, principal: &Arc<Principal>) -> HandlerSpec {
        let sender = TokenSender::User(principal.user().clone());
        self.handler_spec(sender, None, true)
    }
}
