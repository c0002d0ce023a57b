//! A connection that occupies a slot but is not a client yet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::listener_context::ListenerContext;
use latido_admission::PermitSet;

/// A pending connection in its slot. Its socket is stored with those of the clients.
pub(super) struct PendingSlot {
    pub(super) address: SocketAddr,
    pub(super) permits: PermitSet,
    pub(super) accepted_at: Instant,
    pub(super) listener: Arc<ListenerContext>,
}
