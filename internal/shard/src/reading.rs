//! Reading: bytes become messages, and messages become effects.

use std::sync::Arc;

use crate::client::{Client, Life, Voice};
use crate::desk::{Asked, BUSY, Question};
use crate::outbox::receive;
use crate::worker::Worker;
use latido_base::clock::monotonic_now;
use latido_base::ident::Channel;
use latido_protocol::websocket::{Chunk, WsMessage, echo_close_frame, pong_frame};
use latido_protocol::{ErrorCode, Frame, ServerReply, native};
use latido_session::{CloseReason, SessionEffect, RoomPosition, ReauthError};

/// The buffers read from one client before other clients are served.
const READS_A_TURN: usize = 4;

impl Worker {
    /// Reads from a client's socket. With `to_the_end`, the end of the stream may follow; the poll
    /// reports it only once, so reading continues until then.
    pub(super) fn on_readable(&mut self, slot: u32, to_the_end: bool) {
        if self.clients.get(slot as usize).is_some_and(Option::is_none) {
            return self.on_first_words(slot, to_the_end);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.with_client(slot, |worker, client| {
            for _ in 0..READS_A_TURN {
                let open = client.life == Life::Open;
                if open && client.outbox.is_some() {
                    // A client that does not read its responses may not send further requests.
                    client.unread = true;
                    return;
                }
                let Some(socket) = worker.sockets.get(slot as usize).and_then(Option::as_ref)
                else {
                    return;
                };
                let Some(count) = receive(socket, &mut buffer) else {
                    return;
                };
                match count {
                    0 => return client.end_of_stream(),
                    // Bytes after a close frame are discarded.
                    _ if !open => {}
                    _ => worker.feed(slot, client, &mut Chunk::new(&mut buffer[..count])),
                }
                // A read that leaves room in the buffer has emptied the socket; later bytes cause a
                // new event.
                if matches!(client.life, Life::Dead(_)) || (count < buffer.len() && !to_the_end) {
                    return;
                }
            }
            worker.readable.push_back(slot);
        });
        self.buffer = buffer;
    }

    /// Parses bytes from an open client and handles its messages.
    pub(super) fn feed(&mut self, slot: u32, client: &mut Client, chunk: &mut Chunk<'_>) {
        client.heard_s = self.now_s;
        client.pinged = false;
        while client.life == Life::Open {
            match client.reader.next(chunk) {
                Ok(None) => return,
                Ok(Some(message)) => self.on_message(slot, client, message),
                Err(error) => {
                    tracing::debug!(%error, "a client broke the protocol");
                    self.close(slot, client, error.into());
                }
            }
        }
    }

    fn on_message(&mut self, slot: u32, client: &mut Client, message: WsMessage<'_>) {
        if let WsMessage::Close { code, .. } = message {
            return self.close_with(slot, client, CloseReason::Client, &echo_close_frame(code));
        }
        self.parts.metrics.messages_received.inc();
        let Voice::Native(session) = &mut client.voice else {
            return self.on_guest_message(slot, client, message);
        };
        if let Some(effect) = session.check_rate(&self.parts.context, self.now_s) {
            return self.apply(slot, client, effect);
        }
        match message {
            WsMessage::Text(text) => {
                let effect = session.on_text(&text, &self.parts.context);
                if client.tongue == 0
                    || !is_foreign(&effect)
                    || !self.reinterpret(slot, client, &text)
                {
                    self.apply(slot, client, effect);
                }
            }
            WsMessage::Binary(_) => self.close(slot, client, CloseReason::Binary),
            WsMessage::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            WsMessage::Pong | WsMessage::Close { .. } => {}
        }
    }

    /// Applies an effect of the native session.
    pub(super) fn apply(&mut self, slot: u32, client: &mut Client, effect: SessionEffect) {
        match effect {
            SessionEffect::None => {}
            SessionEffect::Reply(reply) => self.reply(slot, client, &reply),
            SessionEffect::Subscribe(channel) => self.join(slot, client, &channel),
            SessionEffect::Resend(name, position) => self.again(slot, client, name, position),
            SessionEffect::Unsubscribe(name, position) => {
                self.leave_room(client, position);
                self.reply(slot, client, &ServerReply::Unsubscribed(name));
            }
            SessionEffect::CheckPermission(channel) => {
                let Some(session) = client.conversation() else {
                    return;
                };
                let request =
                    Question::MayRead(session.principal().user().clone(), channel.clone());
                if !self.ask(slot, client, request) {
                    let effects = client
                        .conversation_mut()
                        .map(|session| session.on_permission(channel, None));
                    for effect in effects.into_iter().flatten() {
                        self.apply(slot, client, effect);
                    }
                }
            }
            SessionEffect::VerifyToken(token) => {
                if !self.ask(slot, client, Question::Verify(token)) {
                    let result = Err(ReauthError::Unavailable(BUSY.to_owned()));
                    let context = &self.parts.context;
                    let effects = client
                        .conversation_mut()
                        .map(|session| session.on_reauth(result, context));
                    for effect in effects.into_iter().flatten() {
                        self.apply(slot, client, effect);
                    }
                }
            }
            SessionEffect::Close(reason) => self.close(slot, client, reason),
        }
    }

    /// Queues an asynchronous request. Returns `false` if the queue is full.
    fn ask(&self, slot: u32, client: &Client, request: Question) -> bool {
        let queue = if matches!(request, Question::Verify(_)) {
            &self.tokens_desk
        } else {
            &self.desk
        };
        let (inbox, generation) = (Arc::clone(&self.inbox), client.generation);
        queue
            .try_send(Asked {
                inbox,
                slot,
                generation,
                since: monotonic_now(),
                question: request,
            })
            .is_ok()
    }

    fn reply(&mut self, slot: u32, client: &mut Client, reply: &ServerReply) {
        if let ServerReply::Error { code, .. } = reply {
            self.parts.metrics.errors_sent.increment(ErrorCode::as_str(*code));
        }
        self.push(slot, client, encode(reply));
    }

    /// Subscribes a client; the response and the newest frame leave in one write.
    fn join(&mut self, slot: u32, client: &mut Client, channel: &Channel) {
        let subscribed = self.parts.hub.subscribe(self.outlet.id(), channel);
        let index = self.rooms.open(subscribed.room);
        let Some(room) = self.rooms.get_mut(index) else {
            return;
        };
        if let Some(frame) = subscribed.latest
            && room.offer(frame)
        {
            self.start_pass(index);
        }
        let Some(position) = self.rooms.sit(index, slot) else {
            return;
        };
        if let Some(session) = client.conversation_mut() {
            session.on_subscribed(&channel.name, position);
        }
        self.set_flags(client);
        let mut bytes = encode(&ServerReply::Subscribed(Arc::clone(&channel.name)));
        let newest = self.newest(client, position);
        let frames = 1 + u64::from(newest.is_some()) + u64::from(subscribed.staleness_frame.is_some());
        bytes.extend_from_slice(newest.as_ref().map_or(&[][..], Frame::as_bytes));
        bytes.extend_from_slice(subscribed.staleness_frame.as_ref().map_or(&[][..], Frame::as_bytes));
        self.push_all(slot, client, frames, bytes);
    }

    /// Repeats the response and the current frame.
    fn again(&mut self, slot: u32, client: &mut Client, name: Arc<str>, position: RoomPosition) {
        let mut bytes = encode(&ServerReply::Subscribed(name));
        let newest = self.newest(client, position);
        bytes.extend_from_slice(newest.as_ref().map_or(&[][..], Frame::as_bytes));
        self.push_all(slot, client, 1 + u64::from(newest.is_some()), bytes);
    }

    /// Takes the newest frame of a room, to send it with a response; the broadcast then skips the
    /// client.
    ///
    /// Returns `None` while the socket is full. The client is then behind in that room and catches
    /// up when the socket drains. Thus a client that repeats requests without reading costs no copy
    /// per request.
    fn newest(&mut self, client: &Client, position: RoomPosition) -> Option<Frame> {
        let (room, index) = self.rooms.member(position)?;
        let is_full = client.outbox.is_some();
        room.members[index].seen = if is_full {
            room.turn.wrapping_sub(1)
        } else {
            room.turn
        };
        room.latest
            .as_ref()
            .filter(|_| !is_full)
            .map(|latest| latest.frame.clone())
    }

    fn leave_room(&mut self, client: &mut Client, position: RoomPosition) {
        self.vacate(position);
        self.set_flags(client);
    }

    /// Removes a client from all its rooms.
    pub(super) fn leave_rooms(&mut self, client: &Client) {
        for position in client.seats() {
            self.vacate(position);
        }
    }

    fn vacate(&mut self, position: RoomPosition) {
        let Some((room, moved)) = self.rooms.leave(position) else {
            return;
        };
        self.parts.hub.unsubscribe(self.outlet.id(), room);
        let moved = moved.and_then(|slot| self.clients.get_mut(slot as usize)?.as_mut());
        if let Some(session) = moved.and_then(|client| client.conversation_mut()) {
            session.on_position_moved(position);
        }
    }
}

impl Client {
    /// Ends a connection whose peer sends no more, with or without a close frame.
    fn end_of_stream(&mut self) {
        let reason = if let Life::Closing { reason, .. } = self.life {
            reason
        } else {
            CloseReason::Client
        };
        self.life = Life::Dead(reason);
    }
}

/// Returns whether a message was not a message of the native protocol.
fn is_foreign(effect: &SessionEffect) -> bool {
    matches!(
        effect,
        SessionEffect::Reply(ServerReply::Error {
            code: ErrorCode::BadMessage | ErrorCode::UnknownType,
            ..
        })
    )
}

fn encode(reply: &ServerReply) -> Vec<u8> {
    Frame::text(&native::encode_reply(reply))
        .as_bytes()
        .to_vec()
}
