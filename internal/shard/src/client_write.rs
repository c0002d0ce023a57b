//! Writing to one client: frames, and the newest state after its socket was full.

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::client::{ConnectionState, ShardClient};
use crate::outbox::{Outbox, SendResult, send, send_last};
use crate::worker::ShardWorker;
use latido_admission::SEND_BUFFER_BYTES;
use latido_hub::FrameContent;
use latido_protocol::{ErrorCode, Frame};
use latido_session::CloseReason;

/// The limit at which frames of several rooms are no longer joined for one write. The part that a
/// full socket does not accept is kept for that client alone.
const MAX_JOINED_BYTES: usize = SEND_BUFFER_BYTES;

impl ShardWorker {
    /// Sends a frame to one client: now, or after its unsent bytes.
    pub(super) fn push(&mut self, slot: u32, client: &mut ShardClient, frame: Vec<u8>) {
        self.push_all(slot, client, 1, frame);
    }

    /// Sends several frames at once, like [`ShardWorker::push`].
    pub(super) fn push_all(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        frames: u64,
        bytes: Vec<u8>,
    ) {
        self.push_with(send, slot, client, frames, bytes);
    }

    /// Sends the last frame of a client. Unless the socket is full, the end of the stream must be
    /// sent right after it.
    pub(super) fn push_last(&mut self, slot: u32, client: &mut ShardClient, frame: Vec<u8>) {
        self.push_with(send_last, slot, client, 1, frame);
    }

    fn push_with(
        &mut self,
        send: fn(&TcpStream, &[u8]) -> SendResult,
        slot: u32,
        client: &mut ShardClient,
        frames: u64,
        bytes: Vec<u8>,
    ) {
        self.count_sent(frames, 0);
        if let Some(outbox) = &mut client.outbox {
            outbox.push(&bytes);
            return;
        }
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        match send(socket, &bytes) {
            SendResult::All => self.count_sent(0, bytes.len()),
            SendResult::Partial(sent) => {
                self.count_sent(0, sent);
                let outbox = Outbox::after_bytes(bytes, sent, self.clock.now_s);
                self.mark_blocked(slot, client, outbox);
            }
            SendResult::Gone => client.state = ConnectionState::Dead(CloseReason::Client),
        }
    }

    /// Sends a shared frame to a client whose socket is not known to be full.
    pub(super) fn push_frame(&mut self, slot: u32, client: &mut ShardClient, frame: &Frame) {
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        match send(socket, frame.as_bytes()) {
            SendResult::All => self.count_sent(1, frame.as_bytes().len()),
            SendResult::Partial(sent) => {
                self.count_sent(1, sent);
                let outbox = Outbox::keeping_frame(frame, sent, self.clock.now_s);
                self.mark_blocked(slot, client, outbox);
            }
            SendResult::Gone => client.state = ConnectionState::Dead(CloseReason::Client),
        }
    }

    /// Sends several concatenated frames, like [`ShardWorker::push_frame`].
    pub(super) fn push_bytes(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        frames: u64,
        bytes: &[u8],
    ) {
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        match send(socket, bytes) {
            SendResult::All => self.count_sent(frames, bytes.len()),
            SendResult::Partial(sent) => {
                self.count_sent(frames, sent);
                let outbox = Outbox::after_bytes(bytes[sent..].to_vec(), 0, self.clock.now_s);
                self.mark_blocked(slot, client, outbox);
            }
            SendResult::Gone => client.state = ConnectionState::Dead(CloseReason::Client),
        }
    }

    /// Sends the newest frame of every room in which this client is behind, many in one write.
    pub(super) fn catch_up(&mut self, slot: u32, client: &mut ShardClient) {
        let mut scratch = std::mem::take(&mut self.buffers.scratch);
        let mut looked = 0;
        while client.outbox.is_none() && !matches!(client.state, ConnectionState::Dead(_)) {
            scratch.clear();
            let frames = self.append_newest_frames(client, &mut looked, &mut scratch);
            if frames == 0 {
                break;
            }
            let Some(socket) = self.connections.socket(slot) else {
                break;
            };
            match send(socket, &scratch) {
                SendResult::All => self.count_sent(frames, scratch.len()),
                SendResult::Partial(sent) => {
                    self.count_sent(frames, sent);
                    let outbox = Outbox::after_bytes(scratch[sent..].to_vec(), 0, self.clock.now_s);
                    self.mark_blocked(slot, client, outbox);
                }
                SendResult::Gone => client.state = ConnectionState::Dead(CloseReason::Client),
            }
        }
        scratch.clear();
        self.buffers.scratch = scratch;
    }

    /// Appends the newest frames of rooms in which the client is behind, starting at its
    /// subscription number `looked`, until there are [`MAX_JOINED_BYTES`]. Returns the number of
    /// frames; in the remaining rooms the client stays behind.
    fn append_newest_frames(
        &mut self,
        client: &ShardClient,
        looked: &mut usize,
        scratch: &mut Vec<u8>,
    ) -> u64 {
        let mut frames = 0;
        for position in client.positions().skip(*looked) {
            if scratch.len() >= MAX_JOINED_BYTES {
                break;
            }
            *looked += 1;
            let Some((room, index_in_room)) = self.rooms.member(position) else {
                continue;
            };
            if room.is_stale(room.members[index_in_room])
                && let Some(taken) = room.take_frame(index_in_room)
            {
                scratch.extend_from_slice(taken.frame.as_bytes());
                frames += taken.count;
                let content = taken.content;
                self.count_errors(content, 1);
            }
        }
        frames
    }

    /// Marks a client's socket as full: rooms skip the client until it drains.
    pub(super) fn mark_blocked(&mut self, slot: u32, client: &mut ShardClient, outbox: Outbox) {
        if let Some(socket) = self
            .connections
            .sockets
            .get_mut(slot as usize)
            .and_then(Option::as_mut)
        {
            let interests = Interest::READABLE | Interest::WRITABLE;
            // The socket is registered already. Should this fail nevertheless, the time limit for
            // slow clients ends the connection.
            if let Err(error) =
                self.poll
                    .registry()
                    .reregister(socket, Token(slot as usize), interests)
            {
                tracing::warn!(%error, "a full socket could not be watched");
            }
        }
        client.outbox = Some(Box::new(outbox));
        self.set_flags(client);
    }

    /// Updates the flags of a client in all its rooms.
    pub(super) fn set_flags(&mut self, client: &ShardClient) {
        let multi = client.positions().nth(1).is_some();
        for position in client.positions() {
            if let Some((room, index_in_room)) = self.rooms.member(position) {
                room.members[index_in_room].set_flags(client.outbox.is_some(), multi);
            }
        }
    }

    /// Continues a client whose socket accepts bytes again: first the unsent bytes, then the newest
    /// frame of every room, then reading.
    pub(super) fn on_writable(&mut self, slot: u32) {
        // A client that was behind once stays registered for write readiness; these events mean
        // nothing until it is behind again.
        if self
            .connections
            .clients
            .get(slot as usize)
            .is_none_or(|client| client.as_ref().is_none_or(|client| client.outbox.is_none()))
        {
            return;
        }
        self.with_client(slot, |worker, client| {
            worker.flush(slot, client);
            if client.outbox.is_none() && std::mem::take(&mut client.has_unread_input) {
                worker.scheduler.readable.push_back(slot);
            }
        });
    }

    pub(super) fn flush(&mut self, slot: u32, client: &mut ShardClient) {
        let Some(outbox) = &mut client.outbox else {
            return;
        };
        let Some(socket) = self.connections.socket(slot) else {
            return;
        };
        let (sent, bytes) = outbox.flush(socket, send, self.clock.now_s);
        self.deps.metrics.bytes_sent.inc_by(bytes as u64);
        match sent {
            SendResult::Partial(_) => {}
            SendResult::Gone => client.state = ConnectionState::Dead(CloseReason::Client),
            SendResult::All => {
                client.outbox = None;
                self.set_flags(client);
                match client.state {
                    ConnectionState::Open => {
                        self.flush_backlog(slot, client);
                        if client.outbox.is_none() {
                            self.catch_up(slot, client);
                        }
                        self.start_history(slot, client);
                    }
                    ConnectionState::Closing { .. } => self.finish_closing(slot, client),
                    ConnectionState::Dead(_) => {}
                }
            }
        }
    }

    /// Counts frames that are being sent, the last one perhaps in part, and the bytes that the
    /// kernel accepted.
    pub(super) fn count_sent(&self, frames: u64, bytes: usize) {
        self.deps.metrics.frames_sent.inc_by(frames);
        self.deps.metrics.bytes_sent.inc_by(bytes as u64);
    }

    /// Counts the clients that a room's frame is sent to, if the frame is an error.
    pub(super) fn count_errors(&self, content: FrameContent, clients: u64) {
        if matches!(content, FrameContent::Unreadable { .. }) && clients > 0 {
            let code = ErrorCode::Unavailable.as_str();
            self.deps.metrics.errors_sent.increment_by(code, clients);
        }
    }
}
