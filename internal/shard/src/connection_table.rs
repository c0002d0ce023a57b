//! The slots of a shard's connections.

use mio::net::TcpStream;

use crate::client::ShardClient;
use crate::close_queue::CloseQueue;

/// The connections of a shard, by slot.
#[derive(Default)]
pub(super) struct ConnectionTable {
    /// The sockets by slot. They are separate from the clients because a broadcast needs only them:
    /// four bytes per client, contiguous.
    pub(super) sockets: Vec<Option<TcpStream>>,
    pub(super) clients: Vec<Option<Box<ShardClient>>>,
    /// The number of times each slot was assigned.
    pub(super) generations: Vec<u32>,
    pub(super) free_slots: Vec<u32>,
    /// The removed clients whose slot is in use until the socket is closed.
    pub(super) close_queue: CloseQueue,
}

impl ConnectionTable {
    /// Returns the socket in a slot.
    pub(super) fn socket(&self, slot: u32) -> Option<&TcpStream> {
        self.sockets.get(slot as usize).and_then(Option::as_ref)
    }

    /// Returns a slot that is free, or a new one.
    pub(super) fn take_free_slot(&mut self) -> u32 {
        self.free_slots.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.clients.push(None);
            self.generations.push(0);
            u32::try_from(self.sockets.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Puts a socket into its slot, which gets a new generation.
    pub(super) fn occupy(&mut self, slot: u32, socket: TcpStream) {
        let index = slot as usize;
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.sockets[index] = Some(socket);
    }

    /// Closes the socket in a slot.
    pub(super) fn close(&mut self, slot: u32) {
        self.sockets[slot as usize] = None;
        self.free_slots.push(slot);
    }

    /// Returns the number of slots in use: open connections, and sockets waiting to be closed.
    pub(super) fn slots_in_use(&self) -> usize {
        self.sockets.len() - self.free_slots.len()
    }
}
