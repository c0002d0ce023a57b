//! Connections that have not yet sent their request.
//!
//! They wait in the same poll in which a WebSocket stays. Nearly all clients send the whole upgrade
//! request at once: such a connection costs one registration, one read and one write, and no task.
//! Any other request is handed to HTTP, and so is a connection that sends nothing within the
//! timeout.

use std::sync::Arc;

use mio::net::TcpStream;

use crate::client::{ConnectionState, ShardClient};
use crate::listener_context::ListenerContext;
use crate::outbox::{SendResult, receive, send};
use crate::pending_slot::PendingSlot;
use crate::timer_wheel::TimerEntry;
use crate::upgraded_connection::ConnectionKind;
use crate::worker::ShardWorker;
use latido_admission::{AcceptedUpgrade, PendingConnection};
use latido_protocol::websocket::Chunk;
use latido_session::CloseReason;

/// The seconds without a request after which a connection is handed to HTTP.
const PENDING_TIMEOUT_S: u32 = 1;

impl ShardWorker {
    /// Registers a connection that waits for its request.
    pub(super) fn add_pending(
        &mut self,
        connection: PendingConnection,
        listener: Arc<ListenerContext>,
    ) {
        if self.shutdown.is_some() {
            return listener.serve_http(connection, &[]);
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
                return listener.serve_http(
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
        self.listeners.pending.insert(
            slot,
            Box::new(PendingSlot {
                address,
                permits: permit,
                accepted_at,
                listener,
            }),
        );
        let generation = self.connections.generations[slot as usize];
        // The current second is partly over, so one is added.
        self.clock.timers.put(
            self.clock.now_s + 1 + PENDING_TIMEOUT_S,
            TimerEntry { slot, generation },
        );
    }

    /// Reads the request of a pending connection. `ends` means that the client may also have closed
    /// it.
    pub(super) fn on_request_bytes(&mut self, slot: u32, ends: bool) {
        let Some(pending) = self.listeners.pending.remove(&slot) else {
            return;
        };
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        let mut buffer = std::mem::take(&mut self.buffers.read);
        match receive(socket, &mut buffer) {
            None => drop(self.listeners.pending.insert(slot, pending)),
            Some(0) => self.connections.close(slot),
            Some(count) => match pending.listener.rules.try_upgrade(
                pending.listener.app_tokens.as_ref(),
                &buffer[..count],
                pending.address,
            ) {
                Some(mut upgrade) => {
                    let more = ends || count == buffer.len();
                    self.complete_upgrade(slot, *pending, &mut upgrade, &mut buffer[..count]);
                    if more {
                        self.scheduler.readable.push_back(slot);
                    }
                }
                None => {
                    let more = ends || count == buffer.len();
                    if self.try_mount(slot, *pending, &mut buffer[..count]) && more {
                        self.scheduler.readable.push_back(slot);
                    }
                }
            },
        }
        self.buffers.read = buffer;
    }

    /// Upgrades a request of a mounted service, or hands the connection to HTTP. Returns whether it
    /// is upgraded.
    fn try_mount(&mut self, slot: u32, pending: PendingSlot, received: &mut [u8]) -> bool {
        let mount = pending.listener.mount.as_ref();
        let Some(upgrade) = mount.and_then(|mount| mount.try_upgrade(received, pending.address))
        else {
            self.hand_to_http(slot, pending, received);
            return false;
        };
        // The response comes before the handler's first frame. If even these first bytes do not fit,
        // the connection is unusable.
        let socket = self.connections.socket(slot);
        if !socket.is_some_and(|socket| send(socket, &upgrade.response) == SendResult::All) {
            self.connections.close(slot);
            return false;
        }
        let kind = ConnectionKind::App(Box::new(upgrade.spec));
        self.install_client(slot, kind, pending.permits);
        self.with_client(slot, |worker, client| {
            if let Some(early @ [_, ..]) = received.get_mut(upgrade.request_bytes..) {
                worker.feed(slot, client, &mut Chunk::new(early));
            }
        });
        true
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
            pending.listener.in_band_upgrade.clone(),
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
        let socket = self.connections.socket(slot);
        if !socket.is_some_and(|socket| send(socket, response) == SendResult::All) {
            client.state = ConnectionState::Dead(CloseReason::Client);
        }
    }

    /// Hands the connection to HTTP if this timer entry still belongs to it.
    pub(super) fn on_pending_timeout(&mut self, entry: TimerEntry) {
        if self.connections.generations.get(entry.slot as usize) == Some(&entry.generation)
            && let Some(pending) = self.listeners.pending.remove(&entry.slot)
        {
            self.hand_to_http(entry.slot, *pending, &[]);
        }
    }

    /// Hands every pending connection to HTTP.
    pub(super) fn flush_pending(&mut self) {
        for (slot, pending) in std::mem::take(&mut self.listeners.pending) {
            self.hand_to_http(slot, *pending, &[]);
        }
    }

    fn hand_to_http(&mut self, slot: u32, pending: PendingSlot, received: &[u8]) {
        let Some(mut socket) = self
            .connections
            .sockets
            .get_mut(slot as usize)
            .and_then(Option::take)
        else {
            return;
        };
        self.connections.free_slots.push(slot);
        let PendingSlot {
            address,
            permits: permit,
            accepted_at,
            listener,
        } = pending;
        if let Err(error) = self.poll.registry().deregister(&mut socket) {
            tracing::warn!(%error, "a connection could not be taken out of the poll and was dropped");
            return;
        }
        listener.serve_http(
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
