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

use crate::client::{Client, Life};
use crate::outbox::{Sent, receive, send};
use crate::wheel::Entry;
use crate::worker::Worker;
use crate::{Entrant, Interpreter, Permits};
use latido_auth::Principal;
use latido_protocol::websocket::Chunk;
use latido_session::CloseReason;

/// The seconds without a request after which a connection is handed to HTTP.
const PATIENCE_S: u32 = 1;

/// An accepted connection that has not sent a request yet.
#[derive(Debug)]
pub struct Caller {
    /// The accepted socket, in non-blocking mode.
    pub socket: std::net::TcpStream,
    /// The address of the TCP peer.
    pub address: SocketAddr,
    /// The connection's permits, held as long as the connection exists.
    pub permit: Permits,
    /// The time at which it was accepted.
    pub since: Instant,
}

/// Upgrades the connections that a shard accepts, or serves them over HTTP.
pub trait Porter: Send + Sync {
    /// Acquires the permits of a non-blocking connection that a shard accepted. Returns `None` if a
    /// limit is reached; the rejection is already sent then.
    fn welcome(&self, socket: std::net::TcpStream, address: SocketAddr) -> Option<Caller>;

    /// Upgrades a connection given all bytes received so far. It must not wait, because it runs on
    /// the shard's thread. Returns `None` if the request needs HTTP.
    fn admit(&self, received: &[u8], address: SocketAddr) -> Option<Admitted>;

    /// Serves a connection over HTTP, given all bytes received so far.
    fn take_back(self: Arc<Self>, connection: Caller, received: &[u8]);
}

/// A completed upgrade that turns a pending connection into a client.
pub struct Admitted {
    /// The principal of the verified token.
    pub principal: Arc<Principal>,
    /// Further permits, in addition to those that the connection already holds.
    pub permits: Vec<OwnedSemaphorePermit>,
    /// The in-band upgrade to an app's protocol, if the listener offers one.
    pub interpreter: Option<Arc<dyn Interpreter>>,
    /// The bytes of the handshake response.
    pub answer: Vec<u8>,
    /// The number of received bytes that the request used; frames may follow.
    pub used: usize,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AcceptedUpgrade")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// A pending connection in its slot. Its socket is stored with those of the clients.
pub(super) struct Waiting {
    address: SocketAddr,
    permit: Permits,
    since: Instant,
    porter: Arc<dyn Porter>,
}

impl Worker {
    /// Registers a connection that waits for its request.
    pub(super) fn receive_caller(&mut self, connection: Caller, handler: Arc<dyn Porter>) {
        if self.leaving.is_some() {
            return handler.take_back(connection, &[]);
        }
        let Caller {
            socket,
            address,
            permit,
            since: accepted_at,
        } = connection;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => {
                return handler.take_back(
                    Caller {
                        socket: socket.into(),
                        address,
                        permit,
                        since: accepted_at,
                    },
                    &[],
                );
            }
        };
        self.lobby.insert(
            slot,
            Box::new(Waiting {
                address,
                permit,
                since: accepted_at,
                porter: handler,
            }),
        );
        let generation = self.generations[slot as usize];
        // The current second is partly over, so one is added.
        self.wheel
            .put(self.now_s + 1 + PATIENCE_S, Entry { slot, generation });
    }

    /// Reads the request of a pending connection. `ends` means that the client may also have closed
    /// it.
    pub(super) fn on_first_words(&mut self, slot: u32, ends: bool) {
        let Some(pending) = self.lobby.remove(&slot) else {
            return;
        };
        let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        match receive(socket, &mut buffer) {
            None => drop(self.lobby.insert(slot, pending)),
            Some(0) => self.close_slot(slot),
            Some(count) => match pending.porter.admit(&buffer[..count], pending.address) {
                Some(mut upgrade) => {
                    let more = ends || count == buffer.len();
                    self.let_in(slot, *pending, &mut upgrade, &mut buffer[..count]);
                    if more {
                        self.readable.push_back(slot);
                    }
                }
                None => self.send_back(slot, *pending, &buffer[..count]),
            },
        }
        self.buffer = buffer;
    }

    fn let_in(&mut self, slot: u32, pending: Waiting, upgrade: &mut Admitted, received: &mut [u8]) {
        let permits = upgrade
            .permits
            .drain(..)
            .fold(pending.permit, |permits, permit| permits.and(Some(permit)));
        let kind = Entrant::Native(Arc::clone(&upgrade.principal), upgrade.interpreter.take());
        self.settle(slot, kind, permits);
        self.with_client(slot, |worker, client| {
            worker.answer_call(slot, client, &upgrade.answer);
            if let Some(early @ [_, ..]) = received.get_mut(upgrade.used..) {
                worker.feed(slot, client, &mut Chunk::new(early));
            }
        });
    }

    /// Writes the handshake response, the first bytes on the socket. If even these do not fit, the
    /// connection is unusable.
    fn answer_call(&self, slot: u32, client: &mut Client, response: &[u8]) {
        let socket = self.sockets.get(slot as usize).and_then(Option::as_ref);
        if !socket.is_some_and(|socket| send(socket, response) == Sent::All) {
            client.life = Life::Dead(CloseReason::Client);
        }
    }

    /// Hands the connection to HTTP if this timer entry still belongs to it.
    pub(super) fn lose_patience(&mut self, entry: Entry) {
        if self.generations.get(entry.slot as usize) == Some(&entry.generation)
            && let Some(pending) = self.lobby.remove(&entry.slot)
        {
            self.send_back(entry.slot, *pending, &[]);
        }
    }

    /// Hands every pending connection to HTTP.
    pub(super) fn empty_lobby(&mut self) {
        for (slot, pending) in std::mem::take(&mut self.lobby) {
            self.send_back(slot, *pending, &[]);
        }
    }

    fn send_back(&mut self, slot: u32, pending: Waiting, received: &[u8]) {
        let Some(mut socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        let Waiting {
            address,
            permit,
            since: accepted_at,
            porter: handler,
        } = pending;
        if let Err(error) = self.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a connection could not be taken out of the poll and was dropped");
            return;
        }
        handler.take_back(
            Caller {
                socket: socket.into(),
                address,
                permit,
                since: accepted_at,
            },
            received,
        );
    }
}
