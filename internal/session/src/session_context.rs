//! The data that all sessions share.

use std::sync::Arc;

use crate::SessionLimits;
use latido_auth::Policy;
use latido_stream::Catalog;

/// The data that all sessions of a server share.
#[derive(Debug, Clone)]
pub struct SessionContext {
    /// The catalog of the streams.
    pub catalog: Arc<Catalog>,
    /// The policy that decides which user may read a topic.
    pub policy: Arc<Policy>,
    /// The limits of one client.
    pub limits: SessionLimits,
}
