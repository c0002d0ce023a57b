//! Bytes in → messages → effects.

use std::sync::Arc;

use crate::clock::instant;
use crate::ident::Channel;
use crate::protocol::{ErrorCode, Frame, Reply, native};
use crate::session::{CloseReason, Effect, Seat, Unverified};
use crate::shard::client::{Client, Life, Voice};
use crate::shard::desk::{Asked, BUSY, Question};
use crate::shard::outbox::receive;
use crate::shard::worker::Worker;
use crate::websocket::{Chunk, Message, echo_close_frame, pong_frame};

/// Buffers read from one client before the others have their turn.
const READS_A_TURN: usize = 4;

impl Worker {
    /// There may be something to read; `to_the_end`: and then perhaps the end of the stream, which is said only once.
    pub(super) fn on_readable(&mut self, slot: u32, to_the_end: bool) {
        if self.clients.get(slot as usize).is_some_and(Option::is_none) {
            return self.on_first_words(slot, to_the_end);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.with_client(slot, |worker, client| {
            for _ in 0..READS_A_TURN {
                let open = client.life == Life::Open;
                if open && client.outbox.is_some() {
                    // Who does not take answers is not asked for questions.
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
                    // What comes after a close frame is nobody's.
                    _ if !open => {}
                    _ => worker.feed(slot, client, &mut Chunk::new(&mut buffer[..count])),
                }
                // A read that leaves room in the buffer has emptied the socket: what comes later is a new event.
                if matches!(client.life, Life::Dead(_)) || (count < buffer.len() && !to_the_end) {
                    return;
                }
            }
            worker.readable.push_back(slot);
        });
        self.buffer = buffer;
    }

    /// Looks at bytes from an open client.
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

    fn on_message(&mut self, slot: u32, client: &mut Client, message: Message<'_>) {
        if let Message::Close { code, .. } = message {
            return self.close_with(slot, client, CloseReason::Client, &echo_close_frame(code));
        }
        self.parts.metrics.messages_received.inc();
        let Voice::Native(conversation) = &mut client.voice else {
            return self.on_guest_message(slot, client, message);
        };
        if let Some(effect) = conversation.admit(&self.parts.context, self.now_s) {
            return self.apply(slot, client, effect);
        }
        match message {
            Message::Text(text) => {
                let effect = conversation.on_text(&text, &self.parts.context);
                if client.tongue == 0
                    || !is_foreign(&effect)
                    || !self.reinterpret(slot, client, &text)
                {
                    self.apply(slot, client, effect);
                }
            }
            Message::Binary(_) => self.close(slot, client, CloseReason::Binary),
            Message::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            Message::Pong | Message::Close { .. } => {}
        }
    }

    /// Does what the conversation decided.
    pub(super) fn apply(&mut self, slot: u32, client: &mut Client, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Reply(reply) => self.reply(slot, client, &reply),
            Effect::Join(channel) => self.join(slot, client, &channel),
            Effect::Again(name, seat) => self.again(slot, client, name, seat),
            Effect::Leave(name, seat) => {
                self.leave_room(client, seat);
                self.reply(slot, client, &Reply::Unsubscribed(name));
            }
            Effect::Ask(channel) => {
                let Some(conversation) = client.conversation() else {
                    return;
                };
                let question =
                    Question::MayRead(conversation.principal().user().clone(), channel.clone());
                if !self.ask(slot, client, question) {
                    let effects = client
                        .conversation_mut()
                        .map(|conversation| conversation.answered(channel, None));
                    for effect in effects.into_iter().flatten() {
                        self.apply(slot, client, effect);
                    }
                }
            }
            Effect::Verify(token) => {
                if !self.ask(slot, client, Question::Verify(token)) {
                    let result = Err(Unverified::Later(BUSY.to_owned()));
                    let context = &self.parts.context;
                    let effects = client
                        .conversation_mut()
                        .map(|conversation| conversation.authenticated(result, context));
                    for effect in effects.into_iter().flatten() {
                        self.apply(slot, client, effect);
                    }
                }
            }
            Effect::Close(reason) => self.close(slot, client, reason),
        }
    }

    /// Puts a question to the desk; false: it is full.
    fn ask(&self, slot: u32, client: &Client, question: Question) -> bool {
        let desk = if matches!(question, Question::Verify(_)) {
            &self.tokens_desk
        } else {
            &self.desk
        };
        let (inbox, generation) = (Arc::clone(&self.inbox), client.generation);
        desk.try_send(Asked {
            inbox,
            slot,
            generation,
            since: instant(),
            question,
        })
        .is_ok()
    }

    fn reply(&mut self, slot: u32, client: &mut Client, reply: &Reply) {
        if let Reply::Error { code, .. } = reply {
            self.parts.metrics.errors_sent.add(ErrorCode::as_str(*code));
        }
        self.push(slot, client, encode(reply));
    }

    /// Subscribes: the answer and the newest frame leave in one write.
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
        let Some(seat) = self.rooms.sit(index, slot) else {
            return;
        };
        if let Some(conversation) = client.conversation_mut() {
            conversation.joined(&channel.name, seat);
        }
        self.set_flags(client);
        let mut bytes = encode(&Reply::Subscribed(Arc::clone(&channel.name)));
        let newest = self.newest(client, seat);
        let frames = 1 + u64::from(newest.is_some()) + u64::from(subscribed.stale.is_some());
        bytes.extend_from_slice(newest.as_ref().map_or(&[][..], Frame::as_bytes));
        bytes.extend_from_slice(subscribed.stale.as_ref().map_or(&[][..], Frame::as_bytes));
        self.push_all(slot, client, frames, bytes);
    }

    /// Repeats the answer and the current frame.
    fn again(&mut self, slot: u32, client: &mut Client, name: Arc<str>, seat: Seat) {
        let mut bytes = encode(&Reply::Subscribed(name));
        let newest = self.newest(client, seat);
        bytes.extend_from_slice(newest.as_ref().map_or(&[][..], Frame::as_bytes));
        self.push_all(slot, client, 1 + u64::from(newest.is_some()), bytes);
    }

    /// The newest frame of a seat's room, to leave with an answer; a pass brings it no second time. None while the socket is full: the
    /// client is behind in that room then, and gets it when the socket drains. Who asks and asks without reading has no copy kept for
    /// each question.
    fn newest(&mut self, client: &Client, seat: Seat) -> Option<Frame> {
        let (room, place) = self.rooms.member(seat)?;
        let is_full = client.outbox.is_some();
        room.members[place].seen = if is_full {
            room.turn.wrapping_sub(1)
        } else {
            room.turn
        };
        room.latest
            .as_ref()
            .filter(|_| !is_full)
            .map(|latest| latest.frame.clone())
    }

    fn leave_room(&mut self, client: &mut Client, seat: Seat) {
        self.vacate(seat);
        self.set_flags(client);
    }

    /// Frees every seat of a client that is going.
    pub(super) fn leave_rooms(&mut self, client: &Client) {
        for seat in client.seats() {
            self.vacate(seat);
        }
    }

    fn vacate(&mut self, seat: Seat) {
        let Some((room, moved)) = self.rooms.leave(seat) else {
            return;
        };
        self.parts.hub.unsubscribe(self.outlet.id(), room);
        let moved = moved.and_then(|slot| self.clients.get_mut(slot as usize)?.as_mut());
        if let Some(conversation) = moved.and_then(|client| client.conversation_mut()) {
            conversation.moved(seat);
        }
    }
}

impl Client {
    /// The peer sends no more: without a close frame, or after one.
    fn end_of_stream(&mut self) {
        let reason = if let Life::Closing { reason, .. } = self.life {
            reason
        } else {
            CloseReason::Client
        };
        self.life = Life::Dead(reason);
    }
}

/// Whether a message is none of the native dialect.
fn is_foreign(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Reply(Reply::Error {
            code: ErrorCode::BadMessage | ErrorCode::UnknownType,
            ..
        })
    )
}

fn encode(reply: &Reply) -> Vec<u8> {
    Frame::text(&native::encode_reply(reply))
        .as_bytes()
        .to_vec()
}
