//! Connections that have not yet sent their request.
//!
//! They wait in the same poll in which a WebSocket stays. Nearly all clients send the whole upgrade
//! request at once: such a connection costs one registration, one read and one write, and no task.
//! Any other request is handed to HTTP, and so is a connection that sends nothing within the
//! timeout.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::client::{ConnectionState, ShardClient};
use crate::outbox::{SendResult, receive, send};
use crate::timer_wheel::TimerEntry;
use crate::worker::ShardWorker;
use crate::{ConnectionKind, InBandUpgrade, PermitSet};
use latido_auth::Principal;
use latido_protocol::websocket::Chunk;
use latido_session::CloseReason;

/// The seconds without a request after which a connection is handed to HTTP.
const PENDING_TIMEOUT_S: u32 = 1;

/// An accepted connection that has not sent a request yet.
#[derive(Debug)]
pub struct PendingConnection {
    /// The accepted socket, in non-blocking mode.
    pub socket: std::net::TcpStream,
    /// The address of the TCP peer.
    pub address: SocketAddr,
    /// The connection's permits, held as long as the connection exists.
    pub permits: PermitSet,
    /// The time at which it was accepted.
    pub accepted_at: Instant,
}

/// Upgrades the connections that a shard accepts, or serves them over HTTP.
pub trait ConnectionHandler: Send + Sync {
    /// Acquires the permits of a non-blocking connection that a shard accepted. Returns `None` if a
    /// limit is reached; the rejection is already sent then.
    fn accept(&self, socket: std::net::TcpStream, address: SocketAddr)
    -> Option<PendingConnection>;

    /// Upgrades a connection given all bytes received so far. It must not wait, because it runs on
    /// the shard's thread. Returns `None` if the request needs HTTP.
    fn try_upgrade(&self, received: &[u8], address: SocketAddr) -> Option<AcceptedUpgrade>;

    /// Serves a connection over HTTP, given all bytes received so far.
    fn serve_http(self: Arc<Self>, connection: PendingConnection, received: &[u8]);
}

/// A completed upgrade that turns a pending connection into a client.
pub struct AcceptedUpgrade {
    /// The principal of the verified token.
    pub principal: Arc<Principal>,
    /// Further permits, in addition to those that the connection already holds.
    pub permits: Vec<OwnedSemaphorePermit>,
    /// The in-band upgrade to an app's protocol, if the listener offers one.
    pub in_band_upgrade: Option<Arc<dyn InBandUpgrade>>,
    /// The bytes of the handshake response.
    pub response: Vec<u8>,
    /// The number of received bytes that the request used; frames may follow.
    pub request_bytes: usize,
}

impl std::fmt::Debug for AcceptedUpgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptedUpgrade")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// A pending connection in its slot. Its socket is stored with those of the clients.
pub(super) struct PendingSlot {
    address: SocketAddr,
    permits: PermitSet,
    accepted_at: Instant,
    handler: Arc<dyn ConnectionHandler>,
}

impl ShardWorker {
    /// Registers a connection that waits for its request.
    pub(super) fn add_pending(
        &mut self,
        connection: PendingConnection,
        handler: Arc<dyn ConnectionHandler>,
    ) {
        if self.shutdown.is_some() {
            return handler.serve_http(connection, &[]);
        }
        let PendingConnection {
            socket,
            address,
            permits: permit,
            accepted_at,
        } = connection;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => {
                return handler.serve_http(
                    PendingConnection {
                        socket: socket.into(),
                        address,
                        permits: permit,
                        accepted_at,
                    },
                    &[],
                );
            }
        };
        self.pending.insert(
            slot,
            Box::new(PendingSlot {
                address,
                permits: permit,
                accepted_at,
                handler,
            }),
        );
        let generation = self.generations[slot as usize];
        // The current second is partly over, so one is added.
        self.timers.put(
            self.now_s + 1 + PENDING_TIMEOUT_S,
            TimerEntry { slot, generation },
        );
    }

    /// Reads the request of a pending connection. `ends` means that the client may also have closed
    /// it.
    pub(super) fn on_request_bytes(&mut self, slot: u32, ends: bool) {
        let Some(pending) = self.pending.remove(&slot) else {
            return;
        };
        let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        match receive(socket, &mut buffer) {
            None => drop(self.pending.insert(slot, pending)),
            Some(0) => self.close_slot(slot),
            Some(count) => match pending
                .handler
                .try_upgrade(&buffer[..count], pending.address)
            {
                Some(mut upgrade) => {
                    let more = ends || count == buffer.len();
                    self.complete_upgrade(slot, *pending, &mut upgrade, &mut buffer[..count]);
                    if more {
                        self.readable.push_back(slot);
                    }
                }
                None => self.hand_to_http(slot, *pending, &buffer[..count]),
            },
        }
        self.buffer = buffer;
    }

    fn complete_upgrade(
        &mut self,
        slot: u32,
        pending: PendingSlot,
        upgrade: &mut AcceptedUpgrade,
        received: &mut [u8],
    ) {
        let permits = upgrade
            .permits
            .drain(..)
            .fold(pending.permits, |permits, permit| {
                permits.with(Some(permit))
            });
        let kind = ConnectionKind::Native(
            Arc::clone(&upgrade.principal),
            upgrade.in_band_upgrade.take(),
        );
        self.install_client(slot, kind, permits);
        self.with_client(slot, |worker, client| {
            worker.write_response(slot, client, &upgrade.response);
            if let Some(early @ [_, ..]) = received.get_mut(upgrade.request_bytes..) {
                worker.feed(slot, client, &mut Chunk::new(early));
            }
        });
    }

    /// Writes the handshake response, the first bytes on the socket. If even these do not fit, the
    /// connection is unusable.
    fn write_response(&self, slot: u32, client: &mut ShardClient, response: &[u8]) {
        let socket = self.sockets.get(slot as usize).and_then(Option::as_ref);
        if !socket.is_some_and(|socket| send(socket, response) == SendResult::All) {
            client.state = ConnectionState::Dead(CloseReason::Client);
        }
    }

    /// Hands the connection to HTTP if this timer entry still belongs to it.
    pub(super) fn on_pending_timeout(&mut self, entry: TimerEntry) {
        if self.generations.get(entry.slot as usize) == Some(&entry.generation)
            && let Some(pending) = self.pending.remove(&entry.slot)
        {
            self.hand_to_http(entry.slot, *pending, &[]);
        }
    }

    /// Hands every pending connection to HTTP.
    pub(super) fn flush_pending(&mut self) {
        for (slot, pending) in std::mem::take(&mut self.pending) {
            self.hand_to_http(slot, *pending, &[]);
        }
    }

    fn hand_to_http(&mut self, slot: u32, pending: PendingSlot, received: &[u8]) {
        let Some(mut socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.free_slots.push(slot);
        let PendingSlot {
            address,
            permits: permit,
            accepted_at,
            handler,
        } = pending;
        if let Err(error) = self.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a connection could not be taken out of the poll and was dropped");
            return;
        }
        handler.serve_http(
            PendingConnection {
                socket: socket.into(),
                address,
                permits: permit,
                accepted_at,
            },
            received,
        );
    }
}
