//! How a connection comes in: without a token, with one of this system's, or later, as a streams' client that speaks both dialects.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::apps::workspace::claims::{Credentials, USER_CLAIMS, looks_ours};
use crate::apps::workspace::guest::WorkspaceGuest;
use crate::apps::workspace::wire::{self, Incoming};
use crate::apps::workspace::{NAME, Shared, site};
use crate::auth::Principal;
use crate::http::{Answer, Asked, Boarding, Pier};
use crate::shard::Interpreter;

const PATH: &str = "/ws";

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Entrance(pub(super) Arc<Shared>);

impl Entrance {
    /// A guest with what a token said at the door.
    fn boarding(&self, credentials: Option<Credentials>, is_native: bool) -> Boarding {
        let shared = Arc::clone(&self.0);
        let principal = credentials
            .as_ref()
            .map(|credentials| Arc::clone(&credentials.principal));
        let make = move |berth| WorkspaceGuest::boxed(shared, berth, credentials, is_native);
        Boarding {
            principal,
            ..Boarding::new(NAME, make).limits(self.0.limits)
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

    fn interpreter(&self) -> Option<Arc<dyn Interpreter>> {
        Some(Arc::new(self.clone()))
    }

    fn board(&self, asked: Asked) -> BoxFuture<'static, Result<Boarding, Answer>> {
        let entrance = self.clone();
        async move {
            let Some(token) = asked.token() else {
                return Ok(entrance.boarding(None, false));
            };
            match entrance.0.verifier.open(&token, &USER_CLAIMS).await {
                Ok(opened) => Ok(entrance.boarding(Some(Credentials::of(opened)), true)),
                Err(error) => {
                    tracing::debug!(reason = error.reason(), "a token was refused");
                    entrance.0.metrics.refuse("token");
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

impl Interpreter for Entrance {
    fn knows(&self, text: &str) -> bool {
        matches!(wire::decode(text), Incoming::Auth(_))
    }

    fn board(&self, _: &Arc<Principal>) -> Boarding {
        self.boarding(None, true)
    }
}
