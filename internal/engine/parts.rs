//! What the actor works with.

use std::sync::Arc;

use crate::clock::Clock;
use crate::drain::Drain;
use crate::engine::{Config, Reader};
use crate::hub::Hub;
use crate::stream::Catalog;

/// What the engine works with.
pub struct Parts {
    /// How.
    pub config: Config,
    /// The streams.
    pub catalog: Arc<Catalog>,
    /// Where rows go.
    pub hub: Arc<Hub>,
    /// Where rows come from.
    pub reader: Arc<dyn Reader>,
    /// Which day it is.
    pub clock: Clock,
    /// When to stop.
    pub drain: Drain,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
