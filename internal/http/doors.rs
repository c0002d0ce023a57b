//! What the routes need of the rest of the server.

use std::fmt;
use std::sync::Arc;

use crate::auth::{ApiKey, Policy, Verifier};
use crate::clock::Clock;
use crate::drain::Drain;
use crate::engine::Engine;
use crate::http::{Asset, Config, Extra, Seats, Shapes, Tls};
use crate::hub::Hub;
use crate::operations::{Operations, Readiness};
use crate::shard::Shards;
use crate::stream::Catalog;
use crate::telemetry::Metrics;

/// One a server; its listeners share it.
pub struct Doors {
    /// Limits.
    pub config: Config,
    /// The connections there may be; made from the same config with [`Seats::new`].
    pub seats: Seats,
    /// The certificate, if the server ends TLS itself; whoever makes it also [keeps](Tls::keep) it.
    pub tls: Option<Tls>,
    /// The streams.
    pub catalog: Arc<Catalog>,
    /// Who a token says is there.
    pub verifier: Arc<Verifier>,
    /// What they may read.
    pub policy: Arc<Policy>,
    /// What the hook's callers must present. None: anyone may hint.
    pub hook_key: Option<ApiKey>,
    /// Where hints go.
    pub engine: Engine,
    /// Where numbers come from.
    pub hub: Arc<Hub>,
    /// Where WebSockets go.
    pub shards: Arc<Shards>,
    /// Counted here and shown at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Behind `/dashboard`.
    pub operations: Arc<Operations>,
    /// Asked by `/ready`.
    pub readiness: Arc<dyn Readiness>,
    /// Asked by `/openapi.json` and `/asyncapi.json`.
    pub shapes: Arc<dyn Shapes>,
    /// For token expiry and `/health`.
    pub clock: Clock,
    /// The stop signal; counts the connections.
    pub drain: Drain,
    /// The embedded page's files.
    pub assets: &'static [Asset],
    /// More addresses.
    pub extra: Option<Extra>,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
