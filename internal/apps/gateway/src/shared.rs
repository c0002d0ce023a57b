//! The state that the gateway's endpoints and tasks share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use latido_app_kit::ApiKeys;

use crate::authenticator::Authenticator;
use crate::config::Config;
use crate::rooms::RoomService;

/// The state that the gateway's endpoints and tasks share.
pub(crate) struct GatewayShared {
    pub(crate) config: Config,
    /// The keys of publishers.
    pub(crate) api_keys: ApiKeys,
    pub(crate) rooms: Arc<RoomService>,
    pub(crate) authenticator: Authenticator,
    /// Set when a client has connected since the last dashboard update. Relaxed: a hint to one
    /// task.
    pub(crate) clients_changed: AtomicBool,
}

impl GatewayShared {
    pub(crate) fn mark_changed(&self) {
        self.clients_changed.store(true, Ordering::Relaxed);
    }
}
