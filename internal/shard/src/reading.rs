//! Reading: bytes become messages, and messages become effects.

use std::sync::Arc;

use crate::async_requests::{AsyncRequest, BUSY_MESSAGE, QueuedRequest};
use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::outbox::receive;
use crate::worker::ShardWorker;
use latido_base::clock::monotonic_now;
use latido_base::ident::Channel;
use latido_hub::TooManyParamSets;
use latido_protocol::websocket::{Chunk, WsMessage, echo_close_frame, pong_frame};
use latido_protocol::{ErrorCode, Frame, ServerReply, native};
use latido_session::{
    CloseReason, PermissionAnswer, ReauthError, RoomPosition, SessionEffect, message_cost,
};

/// The buffers read from one client before other clients are served.
const READS_PER_TURN: usize = 4;

impl ShardWorker {
    /// Reads from a client's socket. With `to_the_end`, the end of the stream may follow; the poll
    /// reports it only once, so reading continues until then.
    pub(super) fn on_readable(&mut self, slot: u32, to_the_end: bool) {
        if self
            .connections
            .clients
            .get(slot as usize)
            .is_some_and(Option::is_none)
        {
            return self.on_request_bytes(slot, to_the_end);
        }
        let mut buffer = std::mem::take(&mut self.buffers.read);
        self.with_client(slot, |worker, client| {
            for _ in 0..READS_PER_TURN {
                let open = client.state == ConnectionState::Open;
                if open && client.outbox.is_some() {
                    // A client that does not read its responses may not send further requests.
                    client.has_unread_input = true;
                    return;
                }
                let Some(socket) = worker.connections.socket(slot) else {
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
                if matches!(client.state, ConnectionState::Dead(_))
                    || (count < buffer.len() && !to_the_end)
                {
                    return;
                }
            }
            worker.scheduler.readable.push_back(slot);
        });
        self.buffers.read = buffer;
    }

    /// Parses bytes from an open client and handles its messages.
    pub(super) fn feed(&mut self, slot: u32, client: &mut ShardClient, chunk: &mut Chunk<'_>) {
        client.last_received_s = self.clock.now_s;
        client.awaiting_pong = false;
        while client.state == ConnectionState::Open {
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

    fn on_message(&mut self, slot: u32, client: &mut ShardClient, message: WsMessage<'_>) {
        if let WsMessage::Close { code, .. } = message {
            return self.close_with(slot, client, CloseReason::Client, &echo_close_frame(code));
        }
        if message != WsMessage::Fragment {
            self.deps.metrics.messages_received.inc();
        }
        let cost = message_cost(message.data_bytes());
        let ProtocolState::Native(session) = &mut client.protocol else {
            return self.on_app_message(slot, client, message, cost);
        };
        if let Some(effect) = session.check_rate(&self.deps.context, cost, self.clock.now_s) {
            return self.apply(slot, client, effect);
        }
        match message {
            WsMessage::Text(text) => {
                let effect = session.on_text(&text, &self.deps.context);
                if client.in_band_upgrade == 0
                    || !is_not_native(&effect)
                    || !self.try_in_band_upgrade(slot, client, &text)
                {
                    self.apply(slot, client, effect);
                }
            }
            WsMessage::Binary(_) => self.close(slot, client, CloseReason::Binary),
            WsMessage::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            WsMessage::Pong | WsMessage::Fragment | WsMessage::Close { .. } => {}
        }
    }

    /// Applies an effect of the native session.
    pub(super) fn apply(&mut self, slot: u32, client: &mut ShardClient, effect: SessionEffect) {
        match effect {
            SessionEffect::None => {}
            SessionEffect::Reply(reply) => self.reply(slot, client, &reply),
            SessionEffect::Subscribe(channel) => self.subscribe(slot, client, &channel),
            SessionEffect::Resend(name, position) => self.resend(slot, client, name, position),
            SessionEffect::Unsubscribe(name, position) => {
                self.leave_room(slot, client, position);
                self.reply(slot, client, &ServerReply::Unsubscribed(name));
            }
            SessionEffect::Leave(position) => self.leave_room(slot, client, position),
            SessionEffect::CheckPermission(channel) => {
                let Some(session) = client.session() else {
                    return;
                };
                let stream = self.deps.context.catalog.get(channel.topic.stream);
                let subject = session.principal().subject(stream);
                let request = AsyncRequest::CheckPermission(subject, channel.clone());
                if !self.queue_request(slot, client, request) {
                    let effects = client
                        .session_mut()
                        .map(|session| session.on_permission(channel, PermissionAnswer::Unknown));
                    for effect in effects.into_iter().flatten() {
                        self.apply(slot, client, effect);
                    }
                }
            }
            SessionEffect::RetryLater => self.retry_later(),
            SessionEffect::VerifyToken(token) => {
                let Some(session) = client.session() else {
                    return;
                };
                let user = session.principal().user().clone();
                if !self.queue_request(slot, client, AsyncRequest::VerifyToken(user, token)) {
                    let result = Err(ReauthError::Unavailable(BUSY_MESSAGE.to_owned()));
                    let context = &self.deps.context;
                    let effects = client
                        .session_mut()
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
    fn queue_request(&self, slot: u32, client: &ShardClient, request: AsyncRequest) -> bool {
        let queue = if matches!(request, AsyncRequest::VerifyToken(..)) {
            &self.queues.tokens
        } else {
            &self.queues.permissions
        };
        let (inbox, generation) = (Arc::clone(&self.inbox), client.generation);
        queue
            .try_send(QueuedRequest {
                inbox,
                slot,
                generation,
                queued_at: monotonic_now(),
                request,
            })
            .is_ok()
    }

    fn reply(&mut self, slot: u32, client: &mut ShardClient, reply: &ServerReply) {
        if let ServerReply::Error { code, .. } = reply {
            self.deps
                .metrics
                .errors_sent
                .increment(ErrorCode::as_str(*code));
        }
        self.push(slot, client, encode_reply(reply));
    }

    /// Subscribes a client; the response and the newest frame leave in one write.
    fn subscribe(&mut self, slot: u32, client: &mut ShardClient, channel: &Channel) {
        let subscribed = match self.deps.hub.subscribe(self.frames.id(), channel) {
            Ok(subscribed) => subscribed,
            Err(limit) => return self.refuse(slot, client, channel, limit),
        };
        let index = self.rooms.get_or_create(subscribed.room, channel);
        let Some(room) = self.rooms.get_mut(index) else {
            return;
        };
        if let Some(frame) = subscribed.latest
            && room.set_latest(frame)
        {
            self.start_broadcast(index);
        }
        let Some(position) = self.rooms.add_member(index, slot) else {
            return;
        };
        if let Some(session) = client.session_mut() {
            session.on_subscribed(channel, position, &self.deps.context);
        }
        self.set_flags(client);
        let mut bytes = encode_reply(&ServerReply::Subscribed(Arc::clone(&channel.name)));
        let refusal = self.hold_for_history(client, &channel.name, position);
        bytes.extend_from_slice(&refusal);
        let newest = self.take_newest_frame(client, position);
        let mut frames =
            1 + u64::from(!refusal.is_empty()) + u64::from(subscribed.staleness_frame.is_some());
        if let Some((newest, count)) = newest {
            bytes.extend_from_slice(newest.as_bytes());
            frames += count;
        }
        bytes.extend_from_slice(
            subscribed
                .staleness_frame
                .as_ref()
                .map_or(&[][..], Frame::as_bytes),
        );
        self.push_all(slot, client, frames, bytes);
        self.start_history(slot, client);
    }

    fn refuse(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        channel: &Channel,
        limit: TooManyParamSets,
    ) {
        self.deps.metrics.param_sets_refused.inc();
        let session = client.session_mut();
        let effect = session.map(|session| session.on_limit_reached(channel, limit.to_string()));
        if let Some(effect) = effect {
            self.apply(slot, client, effect);
        }
    }

    /// Repeats the response and the current frame.
    fn resend(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        name: Arc<str>,
        position: RoomPosition,
    ) {
        let refusal = self.hold_for_history(client, &name, position);
        let mut bytes = encode_reply(&ServerReply::Subscribed(name));
        bytes.extend_from_slice(&refusal);
        let mut frames = 1 + u64::from(!refusal.is_empty());
        if let Some((newest, count)) = self.take_newest_frame(client, position) {
            bytes.extend_from_slice(newest.as_bytes());
            frames += count;
        }
        self.push_all(slot, client, frames, bytes);
        self.start_history(slot, client);
    }

    /// Takes the newest frame of a room, to send it with a response; the broadcast then skips the
    /// client.
    ///
    /// Returns `None` while the client waits for the history, which comes first, and while the socket
    /// is full. The client is then behind in that room and catches
    /// up when the socket drains. Thus a client that repeats requests without reading costs no copy
    /// per request.
    fn take_newest_frame(
        &mut self,
        client: &ShardClient,
        position: RoomPosition,
    ) -> Option<(Frame, u64)> {
        let (room, index) = self.rooms.member(position)?;
        if room.members[index].awaits_history() {
            return None;
        }
        let is_full = client.outbox.is_some();
        if is_full {
            room.members[index].seen_turn = room.turn.wrapping_sub(1);
            return None;
        }
        let taken = room.take_frame(index)?;
        let newest = (taken.frame.clone(), taken.count);
        let content = taken.content;
        self.count_errors(content, 1);
        Some(newest)
    }

    fn leave_room(&mut self, slot: u32, client: &mut ShardClient, position: RoomPosition) {
        let left = self.rooms.member(position);
        if let Some(frame) = left.and_then(|(room, index)| room.parting_frame(index)) {
            self.push(slot, client, frame.as_bytes().to_vec());
        }
        self.give_up_position(position);
        self.set_flags(client);
    }

    /// Removes a client from all its rooms.
    pub(super) fn leave_rooms(&mut self, client: &ShardClient) {
        for position in client.positions() {
            self.give_up_position(position);
        }
    }

    fn give_up_position(&mut self, position: RoomPosition) {
        let Some((room, moved)) = self.rooms.remove_member(position) else {
            return;
        };
        self.deps.hub.unsubscribe(self.frames.id(), room);
        let moved =
            moved.and_then(|slot| self.connections.clients.get_mut(slot as usize)?.as_mut());
        if let Some(session) = moved.and_then(|client| client.session_mut()) {
            session.on_position_moved(position);
        }
    }
}

impl ShardClient {
    /// Ends a connection whose peer sends no more, with or without a close frame.
    fn end_of_stream(&mut self) {
        let reason = if let ConnectionState::Closing { reason, .. } = self.state {
            reason
        } else {
            CloseReason::Client
        };
        self.state = ConnectionState::Dead(reason);
    }
}

/// Returns whether a message was not a message of the native protocol.
fn is_not_native(effect: &SessionEffect) -> bool {
    matches!(
        effect,
        SessionEffect::Reply(ServerReply::Error {
            code: ErrorCode::BadMessage | ErrorCode::UnknownType,
            ..
        })
    )
}

fn encode_reply(reply: &ServerReply) -> Vec<u8> {
    Frame::text(&native::encode_reply(reply))
        .as_bytes()
        .to_vec()
}
