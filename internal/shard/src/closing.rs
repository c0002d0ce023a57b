//! Closing connections: the close frames, and the sockets of the close queue.

use std::io;
use std::net::Shutdown;

use crate::client::{ConnectionState, ShardClient};
use crate::close_queue::ClosingSocket;
use crate::outbox::{Outbox, SendResult, receive, send_last};
use crate::worker::ShardWorker;
use latido_protocol::websocket::close_frame;
use latido_session::CloseReason;

/// The buffers that are read from a client that keeps sending after its close frame, so that it
/// still receives the reply.
const MAX_DRAIN_READS: usize = 4;

/// The time in which a client must answer the server's close frame, in seconds.
const CLOSE_TIMEOUT_S: u32 = 3;

impl ShardWorker {
    /// Closes a connection from the server's side.
    pub(super) fn close(&mut self, slot: u32, client: &mut ShardClient, reason: CloseReason) {
        self.close_with(
            slot,
            client,
            reason,
            &close_frame(reason.code(), reason.text()),
        );
    }

    /// Closes a connection with this close frame. It gets no more broadcasts, but queued bytes
    /// still leave. If the client closed first, the reply leaves when its socket is closed by the
    /// [close queue](crate::close_queue).
    pub(super) fn close_with(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        reason: CloseReason,
        frame: &[u8],
    ) {
        if client.state != ConnectionState::Open {
            return;
        }
        self.leave_rooms(client);
        if let Some(session) = client.session_mut() {
            session.clear_subscriptions();
        }
        self.detach(client, reason);
        if reason == CloseReason::Client && client.outbox.is_none() {
            self.count_sent(1, 0);
            client.outbox = Some(Box::new(Outbox::after_bytes(
                frame.to_vec(),
                0,
                self.clock.now_s,
            )));
            client.state = ConnectionState::Dead(reason);
            return;
        }
        self.push_last(slot, client, frame.to_vec());
        if matches!(client.state, ConnectionState::Dead(_)) {
            client.state = ConnectionState::Dead(reason);
            return;
        }
        client.state = ConnectionState::Closing {
            reason,
            until_s: self.clock.now_s + CLOSE_TIMEOUT_S,
        };
        if client.outbox.is_none() {
            self.finish_closing(slot, client);
        }
    }

    /// Finishes the closing handshake after the close frame was sent.
    ///
    /// A client that closed first has its reply by now. Otherwise the client's reply is awaited:
    /// closing with unread bytes would make the kernel reset the connection and drop the server's
    /// close frame.
    pub(super) fn finish_closing(&mut self, slot: u32, client: &mut ShardClient) {
        if let ConnectionState::Closing {
            reason: CloseReason::Client,
            ..
        } = client.state
        {
            client.state = ConnectionState::Dead(CloseReason::Client);
            return;
        }
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        if socket.shutdown(Shutdown::Write).is_err() {
            client.state = ConnectionState::Dead(CloseReason::Client);
        }
    }
}

impl ShardWorker {
    /// Closes as many waiting sockets as the current step allows. A full socket waits for a later
    /// step, so that a client that still reads a long message gets the close frame behind it.
    pub(super) fn close_due(&mut self) {
        if self.connections.close_queue.waiting.is_empty() {
            return;
        }
        let (now, mut full) = (self.elapsed(), Vec::new());
        while let Some(mut socket) = self.connections.close_queue.next(now) {
            if self.send_unsent(&mut socket) {
                self.connections.close(socket.slot);
            } else {
                full.push(socket);
            }
            self.yield_to_broadcasts();
        }
        for socket in full {
            self.connections.close_queue.put(socket);
        }
    }

    /// Closes all waiting sockets, because the shard ends or their descriptors are needed. Returns
    /// whether there were any.
    pub(super) fn close_all(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.connections.close_queue.waiting);
        let were_any = !waiting.is_empty();
        for mut socket in waiting {
            let _sent = self.send_unsent(&mut socket);
            self.connections.close(socket.slot);
        }
        were_any
    }

    /// Sends what a socket still has to send before it is closed. Returns `false` if the socket is
    /// full and its client may still make room for it.
    fn send_unsent(&mut self, ClosingSocket { slot, unsent }: &mut ClosingSocket) -> bool {
        let Some(outbox) = unsent else { return true };
        let Some(socket) = self.connections.socket(*slot) else {
            return true;
        };
        // The kernel resets a connection that is closed with unread bytes. Input after a close
        // frame is irrelevant, so it is discarded.
        for _ in 0..MAX_DRAIN_READS {
            if receive(socket, &mut self.buffers.read).is_none_or(|count| count == 0) {
                break;
            }
        }
        let (result, bytes) = outbox.flush(socket, send_last, self.clock.now_s);
        self.deps.metrics.bytes_sent.inc_by(bytes as u64);
        if matches!(result, SendResult::Partial(_))
            && self.clock.now_s < outbox.progress_s + CLOSE_TIMEOUT_S
        {
            return false;
        }
        // The bytes are on their way in any case. An error means that the connection is gone
        // already.
        let _: io::Result<()> = socket.shutdown(Shutdown::Write);
        true
    }
}
