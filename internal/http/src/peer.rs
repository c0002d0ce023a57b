//! The remote end of a connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use latido_admission::PermitSet;

/// The remote end of a connection, an extension of every request.
#[derive(Debug, Clone)]
pub(super) struct Peer(Arc<PeerState>);

#[derive(Debug)]
struct PeerState {
    address: SocketAddr,
    /// Taken out by an upgrade, else released with the connection.
    permit: Mutex<Option<PermitSet>>,
    /// Set once a complete request head has arrived. Relaxed is enough: only this connection's task
    /// writes and reads it.
    request_seen: AtomicBool,
    /// Set by each response that is no upgrade, with the same ordering for the same reason.
    upgrade_refused: AtomicBool,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, permit: PermitSet) -> Self {
        Self(Arc::new(PeerState {
            address,
            permit: Mutex::new(Some(permit)),
            request_seen: AtomicBool::new(false),
            upgrade_refused: AtomicBool::new(false),
        }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Takes the permit, which then travels with the socket. Returns `None` if it was taken before.
    pub(super) fn take_permit(&self) -> Option<PermitSet> {
        self.0
            .permit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Notes that a complete request head has arrived.
    pub(super) fn set_request_seen(&self) {
        self.0.request_seen.store(true, Ordering::Relaxed);
    }

    /// Notes that the last request was answered and is no upgrade.
    pub(super) fn set_upgrade_refused(&self) {
        self.0.upgrade_refused.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`Peer::set_upgrade_refused`] was called since this was last asked.
    pub(super) fn take_upgrade_refused(&self) -> bool {
        self.0.upgrade_refused.swap(false, Ordering::Relaxed)
    }

    /// Returns whether a complete request head has arrived.
    pub(super) fn request_seen(&self) -> bool {
        self.0.request_seen.load(Ordering::Relaxed)
    }
}
