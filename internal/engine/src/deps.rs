//! The dependencies of the engine's actor.

use std::sync::Arc;

use crate::config::Config;
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_hub::Hub;
use latido_stream::{Catalog, SnapshotReader, TransactionSource};

/// The dependencies of the engine's actor, assembled by the wiring.
pub struct EngineDeps {
    /// The engine's settings, see [`Config`].
    pub config: Config,
    /// The catalog of all configured streams.
    pub catalog: Arc<Catalog>,
    /// The hub that rows are published to.
    pub hub: Arc<Hub>,
    /// The database reader that rows come from.
    pub reader: Arc<dyn SnapshotReader>,
    /// The source of the open transactions, which moved keys wait for.
    pub transactions: Arc<dyn TransactionSource>,
    /// The wall clock, which gives each zone's date.
    pub clock: Clock,
    /// The shutdown signal that ends the actor.
    pub drain: Drain,
}

impl std::fmt::Debug for EngineDeps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
