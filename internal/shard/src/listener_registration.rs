//! A shard's turn at a listener.

use std::sync::Arc;
use std::time::Instant;

use crate::accept_backoff::AcceptBackoff;
use crate::command::ShardCommand;
use crate::shared_listener::SharedListener;

/// A shard's registration at a listener.
#[derive(Debug)]
pub(super) struct ListenerRegistration {
    pub(super) listener: Arc<SharedListener<ShardCommand>>,
    /// Set if a connection may be waiting; the poll reports it only once.
    pub(super) is_ready: bool,
    /// The connections accepted since this shard got the turn.
    pub(super) accepted: usize,
    pub(super) backoff: AcceptBackoff,
    /// The end of the pause after a failed accept, if there is one.
    pub(super) retry_at: Option<Instant>,
}
