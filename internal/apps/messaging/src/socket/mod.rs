//! The channel session of one socket: its joined channels, the operation in progress, and queued
//! pushes. Pure: takes pushes and store responses, returns effects.
//!
//! One operation runs at a time, and later pushes wait in order. A client that sends three messages
//! in a row therefore has them stored in that order. Heartbeats are answered at once, so that a
//! slow database does not look like a dead server.

mod push;
mod reply;

use std::collections::VecDeque;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::store::{Answer, Operation};
use crate::vocabulary::{Vocabulary, conversation_channel, user_channel};
use latido_protocol::phoenix::{self, PushPayload, Push, Reference, ReplyStatus, SerializerVersion};
use push::{Asked, Manner};

/// The largest number of channels that one socket may join.
const MAX_CHANNELS: usize = 100;
/// The largest number of pushes, and of bytes in them, that may wait for the operation in progress.
const MAX_WAITING: usize = 64;
const MAX_WAITING_BYTES: usize = 512 * 1024;
/// The time after which typing ends if the client does not repeat it, in seconds.
const TYPING_S: i64 = 10;

/// One effect for the connection to carry out, in the order of the list.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Sends this text frame to the client.
    Say(String),
    /// Executes this operation and passes its result to [`ChannelSession::on_result`].
    Ask(Operation),
    /// Subscribes the connection to a channel's topics.
    Enter(Box<str>),
    /// Unsubscribes the connection from a channel's topics.
    Exit(Box<str>),
    /// Moves the subscriptions to another API version than the assumed one.
    Speak(Vocabulary),
    /// Publishes that the user types in this conversation, or has stopped.
    Typing(Box<str>, bool),
    /// Sets the status that the user wants to show.
    Show(String),
    /// Closes the connection with this code and reason.
    Close(u16, &'static str),
}

/// The reason why an operation has no response from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The database is unreachable or rejects the operation.
    Unavailable,
    /// The server has too many operations in progress.
    Overloaded,
    /// The user has sent too many messages. The field is the number of seconds until the next one
    /// is allowed.
    Limited(i64),
}

#[derive(Debug)]
struct Channel {
    topic: Box<str>,
    join_ref: Option<Reference>,
    /// The end of the current typing, in Unix seconds.
    typing_until_s: Option<i64>,
}

#[derive(Debug)]
struct Busy {
    push: Push,
    reply_style: Manner,
}

/// The state of one socket; see the module's documentation.
#[derive(Debug)]
pub(super) struct Socket {
    user: Uuid,
    vsn: SerializerVersion,
    vocabulary: Vocabulary,
    /// `true` once a push that only one version has fixed the API version.
    is_locked: bool,
    channels: Vec<Channel>,
    busy: Option<Busy>,
    /// The queued pushes, each with its frame's size in bytes.
    waiting: VecDeque<(Push, usize)>,
    waiting_bytes: usize,
}

impl Socket {
    pub(super) fn new(user: Uuid, vsn: SerializerVersion, vocabulary: Vocabulary) -> Self {
        Self {
            user,
            vsn,
            vocabulary,
            is_locked: false,
            channels: Vec::new(),
            busy: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    pub(super) fn vocabulary(&self) -> Vocabulary {
        self.vocabulary
    }

    /// Returns the topics of the joined channels.
    pub(super) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| &*channel.topic)
    }

    /// Handles a text frame of the client.
    pub(super) fn hear(&mut self, text: &str, now_s: i64, effects: &mut Vec<Step>) {
        match phoenix::decode(self.vsn, text) {
            Ok(push) => self.take(push, text.len(), now_s, effects),
            Err(_) => effects.push(Step::Close(1003, "not a frame of the version asked for")),
        }
    }

    /// Handles a binary frame of the client.
    pub(super) fn hear_binary(&mut self, bytes: &[u8], now_s: i64, effects: &mut Vec<Step>) {
        match phoenix::decode_binary(bytes) {
            Ok(push) if self.vsn == SerializerVersion::V2 => self.take(push, bytes.len(), now_s, effects),
            _ => effects.push(Step::Close(1003, "not a binary push of version 2")),
        }
    }

    fn take(&mut self, push: Push, bytes: usize, now_s: i64, effects: &mut Vec<Step>) {
        if &*push.topic == "phoenix" {
            let known = &*push.event == "heartbeat";
            let (status, response) = if known {
                (ReplyStatus::Ok, json!({}))
            } else {
                (ReplyStatus::Error, reason("unmatched topic"))
            };
            return self.reply(&push, status, &response, effects);
        }
        if self.busy.is_none() {
            return self.handle(push, now_s, effects);
        }
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes + bytes > MAX_WAITING_BYTES {
            return self.reply(&push, ReplyStatus::Error, &reason("overloaded"), effects);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back((push, bytes));
    }

    /// Handles the result of the operation in progress, then continues with the queued pushes.
    pub(super) fn answered(
        &mut self,
        answer: Result<Answer, Failure>,
        now_s: i64,
        effects: &mut Vec<Step>,
    ) {
        let Some(Busy { push, reply_style }) = self.busy.take() else {
            return;
        };
        match (reply_style, answer) {
            (Manner::Arrive, answer) => self.arrived(&push, answer, now_s, effects),
            (Manner::Join, Ok(answer)) => self.joined(&push, &answer, effects),
            (reply_style, answer) => {
                let (status, response) = reply::of(reply_style, self.vocabulary, answer);
                self.reply(&push, status, &response, effects);
            }
        }
        while self.busy.is_none()
            && let Some((push, bytes)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= bytes;
            self.handle(push, now_s, effects);
        }
    }

    /// Returns the time at which [`ChannelSession::on_timer`] should be called next, in Unix
    /// seconds.
    pub(super) fn next_time(&self) -> Option<i64> {
        self.channels
            .iter()
            .filter_map(|channel| channel.typing_until_s)
            .min()
    }

    /// Ends typing that the client has not ended itself.
    pub(super) fn on_time(&mut self, now_s: i64, effects: &mut Vec<Step>) {
        for channel in &mut self.channels {
            if channel.typing_until_s.is_some_and(|until| until <= now_s) {
                channel.typing_until_s = None;
                effects.push(Step::Typing(channel.topic.clone(), false));
            }
        }
    }

    /// Removes a channel after the client was notified of its end.
    pub(super) fn put_out(&mut self, topic: &str, effects: &mut Vec<Step>) {
        let Some(index) = self
            .channels
            .iter()
            .position(|channel| *channel.topic == *topic)
        else {
            return;
        };
        let channel = self.channels.swap_remove(index);
        if channel.typing_until_s.is_some() {
            effects.push(Step::Typing(channel.topic, false));
        }
    }

    /// Ends all typing, because the connection has closed.
    pub(super) fn ended(&mut self, effects: &mut Vec<Step>) {
        self.on_time(i64::MAX, effects);
    }

    fn handle(&mut self, push: Push, now_s: i64, effects: &mut Vec<Step>) {
        match &*push.event {
            "phx_join" => self.join(push, effects),
            "phx_leave" => self.leave(&push, effects),
            _ => match self
                .channels
                .iter()
                .position(|channel| channel.topic == push.topic)
            {
                None => self.reply(&push, ReplyStatus::Error, &reason("unmatched topic"), effects),
                // The push belongs to an earlier join, and the client no longer expects a reply.
                Some(index)
                    if push.join_ref.is_some()
                        && self.channels[index].join_ref != push.join_ref => {}
                Some(index) => self.push(index, push, now_s, effects),
            },
        }
    }

    fn join(&mut self, push: Push, effects: &mut Vec<Step>) {
        if let Some(index) = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic)
        {
            self.exit(index, effects);
        }
        if self.channels.len() >= MAX_CHANNELS {
            return self.reply(
                &push,
                ReplyStatus::Error,
                &reason("too many channels joined"),
                effects,
            );
        }
        match push.topic.split_once(':') {
            Some(("user", _)) if *push.topic == *user_channel(self.user) => {
                let response = json!({"status": "connected", "user_id": self.user});
                self.enter(&push, &response, effects);
                self.ask(push, Manner::Arrive, Operation::Arrive, effects);
            }
            Some(("user", _)) => self.reply(&push, ReplyStatus::Error, &reason("unauthorized"), effects),
            // Only the canonical form is valid: broadcasts carry it, and a client matches a channel
            // by the exact name that it joined.
            Some(("conversation", id)) => match id
                .parse()
                .ok()
                .filter(|id| *push.topic == *conversation_channel(*id))
            {
                Some(id) => self.ask(push, Manner::Join, Operation::Enter(id), effects),
                None => self.reply(
                    &push,
                    ReplyStatus::Error,
                    &reason("conversation_not_found"),
                    effects,
                ),
            },
            _ => self.reply(&push, ReplyStatus::Error, &reason("unmatched topic"), effects),
        }
    }

    fn enter(&mut self, push: &Push, response: &Value, effects: &mut Vec<Step>) {
        let join_ref = push.join_ref.clone();
        self.channels.push(Channel {
            topic: push.topic.clone(),
            join_ref,
            typing_until_s: None,
        });
        self.reply(push, ReplyStatus::Ok, response, effects);
        effects.push(Step::Enter(push.topic.clone()));
    }

    fn joined(&mut self, push: &Push, answer: &Answer, effects: &mut Vec<Step>) {
        match reply::joined(self.vocabulary, answer) {
            Ok(response) => self.enter(push, &response, effects),
            Err(response) => self.reply(push, ReplyStatus::Error, &response, effects),
        }
    }

    fn leave(&mut self, push: &Push, effects: &mut Vec<Step>) {
        self.reply(push, ReplyStatus::Ok, &json!({}), effects);
        let index = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic);
        if let Some(index) = index.filter(|index| {
            push.join_ref.is_none() || self.channels[*index].join_ref == push.join_ref
        }) {
            self.exit(index, effects);
        }
    }

    /// Ends a channel and sends `phx_close` to the client.
    fn exit(&mut self, index: usize, effects: &mut Vec<Step>) {
        let channel = self.channels.swap_remove(index);
        if channel.typing_until_s.is_some() {
            effects.push(Step::Typing(channel.topic.clone(), false));
        }
        effects.push(Step::Exit(channel.topic.clone()));
        let join_ref = channel.join_ref.as_ref();
        effects.push(Step::Say(phoenix::encode_message(
            self.vsn,
            join_ref,
            join_ref,
            &channel.topic,
            "phx_close",
            "{}",
        )));
    }

    fn push(&mut self, index: usize, push: Push, now_s: i64, effects: &mut Vec<Step>) {
        self.lock(&push.event, effects);
        let PushPayload::Json(payload) = &push.payload else {
            return self.reply(&push, ReplyStatus::Error, &reason("invalid_payload"), effects);
        };
        match push::read(&push.topic, &push.event, payload, self.vocabulary) {
            Asked::Operation(reply_style, operation) => {
                self.ask(push, reply_style, operation, effects)
            }
            Asked::Typing(is_typing) => self.typing(index, is_typing, now_s, effects),
            Asked::Status(status, is_answered) => {
                if is_answered {
                    self.reply(&push, ReplyStatus::Ok, &json!({"status": status}), effects);
                }
                effects.push(Step::Show(status));
            }
            Asked::Known(response) => self.reply(&push, ReplyStatus::Ok, &response, effects),
            Asked::Wrong(response) => self.reply(&push, ReplyStatus::Error, &response, effects),
            Asked::Nothing => {}
        }
    }

    fn lock(&mut self, event: &str, effects: &mut Vec<Step>) {
        let Some(implied) = Vocabulary::of_push(event).filter(|_| !self.is_locked) else {
            return;
        };
        self.is_locked = true;
        if implied != self.vocabulary {
            self.vocabulary = implied;
            effects.push(Step::Speak(implied));
        }
    }

    fn typing(&mut self, index: usize, is_typing: bool, now_s: i64, effects: &mut Vec<Step>) {
        let channel = &mut self.channels[index];
        let was_typing = channel.typing_until_s.is_some();
        channel.typing_until_s = is_typing.then_some(now_s + TYPING_S);
        if is_typing || was_typing {
            effects.push(Step::Typing(channel.topic.clone(), is_typing));
        }
    }

    fn ask(
        &mut self,
        push: Push,
        reply_style: Manner,
        operation: Operation,
        effects: &mut Vec<Step>,
    ) {
        self.busy = Some(Busy { push, reply_style });
        effects.push(Step::Ask(operation));
    }

    /// Sends the events of a user's channel that follow the reply to its join.
    fn arrived(
        &self,
        push: &Push,
        answer: Result<Answer, Failure>,
        now_s: i64,
        effects: &mut Vec<Step>,
    ) {
        // The client may have left the channel meanwhile.
        let Some(channel) = self
            .channels
            .iter()
            .find(|channel| channel.topic == push.topic)
        else {
            return;
        };
        let mut send = |event: &str, payload: Value| {
            let text = phoenix::encode_message(
                self.vsn,
                channel.join_ref.as_ref(),
                None,
                &push.topic,
                event,
                &payload.to_string(),
            );
            effects.push(Step::Say(text));
        };
        for (event, payload) in reply::arrived(self.user, self.vocabulary, answer, now_s) {
            send(event, payload);
        }
    }

    /// Replies to a push. A push without a reference expects no reply.
    fn reply(&self, push: &Push, status: ReplyStatus, response: &Value, effects: &mut Vec<Step>) {
        if push.reference.is_some() {
            effects.push(Step::Say(phoenix::encode_reply(
                self.vsn,
                push,
                status,
                &response.to_string(),
            )));
        }
    }
}

fn reason(reason: &str) -> Value {
    json!({"reason": reason})
}

/// Feeds one frame per line to a socket, text and binary, and checks its limits (fuzzing).
#[cfg(any(test, fuzzing, feature = "testing"))]
pub fn exercise(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let (user, vsn) = (
        Uuid::from_u128(1),
        if *first == b'2' { SerializerVersion::V2 } else { SerializerVersion::V1 },
    );
    let (mut socket, mut effects) = (Socket::new(user, vsn, Vocabulary::Head), Vec::new());
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(text) => socket.hear(text, 0, &mut effects),
            Err(_) => socket.hear_binary(line, 0, &mut effects),
        }
        if number % 3 == 0 {
            socket.answered(Err(Failure::Unavailable), 0, &mut effects);
        }
        let executed = effects
            .iter()
            .filter(|effect| matches!(effect, Step::Ask(_)))
            .count();
        assert!(executed <= 2 && usize::from(socket.busy.is_some()) <= executed + 1);
        assert!(socket.waiting.len() <= MAX_WAITING && socket.channels.len() <= MAX_CHANNELS);
        effects.clear();
    }
}

#[cfg(test)]
mod tests;
