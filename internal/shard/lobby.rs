//! Connections that have not yet said what they want.
//!
//! They wait in the poll that a WebSocket stays in for good: who asks for one in a single breath, as nearly all do, costs one
//! registration, one read and one write, and no task. Whatever else comes, or nothing in time, goes back to where it came from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::auth::Principal;
use crate::session::CloseReason;
use crate::shard::client::{Client, Life};
use crate::shard::outbox::{Sent, receive, send};
use crate::shard::wheel::Entry;
use crate::shard::worker::Worker;
use crate::shard::{Entrant, Interpreter, Permits};
use crate::websocket::Chunk;

/// Seconds of silence after which a connection goes back.
const PATIENCE_S: u32 = 1;

/// A connection that was just accepted.
#[derive(Debug)]
pub struct Caller {
    /// Non-blocking.
    pub socket: std::net::TcpStream,
    /// Who calls.
    pub address: SocketAddr,
    /// Counts the connection against the limits while it lives.
    pub permit: Permits,
    /// When it was accepted.
    pub since: Instant,
}

/// Whom to let in, and where to send the others.
pub trait Porter: Send + Sync {
    /// Has a place for a connection that a shard accepted; it is non-blocking. None: there is none, and it was told so.
    fn welcome(&self, socket: std::net::TcpStream, address: SocketAddr) -> Option<Caller>;

    /// Judges all that a caller has said so far; at once, for the shard waits. None: somebody else must.
    fn admit(&self, said: &[u8], address: SocketAddr) -> Option<Admitted>;

    /// Takes a caller back, with all it has said.
    fn take_back(self: Arc<Self>, caller: Caller, said: &[u8]);
}

/// A caller that becomes a client.
pub struct Admitted {
    /// Who is there.
    pub principal: Arc<Principal>,
    /// Places beside the one that the caller has.
    pub permits: Vec<OwnedSemaphorePermit>,
    /// Who makes a guest of it if it speaks an app's dialect too.
    pub interpreter: Option<Arc<dyn Interpreter>>,
    /// What to answer.
    pub answer: Vec<u8>,
    /// Bytes of what was said that are answered with it; frames may follow.
    pub used: usize,
}

impl std::fmt::Debug for Admitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admitted")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

/// A caller in a slot of its own; its socket stands with the others.
pub(super) struct Waiting {
    address: SocketAddr,
    permit: Permits,
    since: Instant,
    porter: Arc<dyn Porter>,
}

impl Worker {
    /// Lets a caller in, to wait for its first words.
    pub(super) fn receive_caller(&mut self, caller: Caller, porter: Arc<dyn Porter>) {
        if self.leaving.is_some() {
            return porter.take_back(caller, &[]);
        }
        let Caller {
            socket,
            address,
            permit,
            since,
        } = caller;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => {
                return porter.take_back(
                    Caller {
                        socket: socket.into(),
                        address,
                        permit,
                        since,
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
                since,
                porter,
            }),
        );
        let generation = self.generations[slot as usize];
        // The first second is not a whole one.
        self.wheel
            .put(self.now_s + 1 + PATIENCE_S, Entry { slot, generation });
    }

    /// A caller said something. `ends`: and may have hung up as well.
    pub(super) fn on_first_words(&mut self, slot: u32, ends: bool) {
        let Some(waiting) = self.lobby.remove(&slot) else {
            return;
        };
        let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        match receive(socket, &mut buffer) {
            None => drop(self.lobby.insert(slot, waiting)),
            Some(0) => self.close_slot(slot),
            Some(count) => match waiting.porter.admit(&buffer[..count], waiting.address) {
                Some(mut admitted) => {
                    let more = ends || count == buffer.len();
                    self.let_in(slot, *waiting, &mut admitted, &mut buffer[..count]);
                    if more {
                        self.readable.push_back(slot);
                    }
                }
                None => self.send_back(slot, *waiting, &buffer[..count]),
            },
        }
        self.buffer = buffer;
    }

    fn let_in(&mut self, slot: u32, waiting: Waiting, admitted: &mut Admitted, said: &mut [u8]) {
        let permits = admitted
            .permits
            .drain(..)
            .fold(waiting.permit, |permits, permit| permits.and(Some(permit)));
        let entrant = Entrant::Native(Arc::clone(&admitted.principal), admitted.interpreter.take());
        self.settle(slot, entrant, permits);
        self.with_client(slot, |worker, client| {
            worker.answer_call(slot, client, &admitted.answer);
            if let Some(early @ [_, ..]) = said.get_mut(admitted.used..) {
                worker.feed(slot, client, &mut Chunk::new(early));
            }
        });
    }

    /// The first bytes on a socket: who has no room for them has none for anything.
    fn answer_call(&self, slot: u32, client: &mut Client, answer: &[u8]) {
        let socket = self.sockets.get(slot as usize).and_then(Option::as_ref);
        if !socket.is_some_and(|socket| send(socket, answer) == Sent::All) {
            client.life = Life::Dead(CloseReason::Client);
        }
    }

    /// A second has passed for whoever waits in this slot.
    pub(super) fn lose_patience(&mut self, entry: Entry) {
        if self.generations.get(entry.slot as usize) == Some(&entry.generation)
            && let Some(waiting) = self.lobby.remove(&entry.slot)
        {
            self.send_back(entry.slot, *waiting, &[]);
        }
    }

    /// Sends everybody back who has not spoken yet.
    pub(super) fn empty_lobby(&mut self) {
        for (slot, waiting) in std::mem::take(&mut self.lobby) {
            self.send_back(slot, *waiting, &[]);
        }
    }

    fn send_back(&mut self, slot: u32, waiting: Waiting, said: &[u8]) {
        let Some(mut socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        let Waiting {
            address,
            permit,
            since,
            porter,
        } = waiting;
        if let Err(error) = self.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a connection could not be taken out of the poll and was dropped");
            return;
        }
        porter.take_back(
            Caller {
                socket: socket.into(),
                address,
                permit,
                since,
            },
            said,
        );
    }
}
