//! One socket: which channels it has joined, what it is busy with, what waits. Pure: pushes and answers in, steps out.
//!
//! One operation is under way at a time, and what comes meanwhile waits in order, so a client that sends three messages in a row has
//! them stored in that order. Heartbeats are answered at once: a slow database must not look like a dead server.

mod push;
mod reply;

use std::collections::VecDeque;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::apps::messaging::store::{Answer, Operation};
use crate::apps::messaging::vocabulary::{Vocabulary, conversation_channel, user_channel};
use crate::protocol::phoenix::{self, Payload, Push, Reference, Status, Vsn};
use push::{Asked, Manner};

/// Channels that one socket may have joined.
const MAX_CHANNELS: usize = 100;
/// Pushes, and bytes of them, that may wait while one is under way.
const MAX_WAITING: usize = 64;
const MAX_WAITING_BYTES: usize = 512 * 1024;
/// Whoever says nothing more has stopped typing after so many seconds.
const TYPING_S: i64 = 10;

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Send this text.
    Say(String),
    /// Do this, and come back with [`Socket::answered`].
    Ask(Operation),
    /// The socket is on a channel from now on.
    Enter(Box<str>),
    /// And no more.
    Exit(Box<str>),
    /// It understands another vocabulary than it was taken to.
    Speak(Vocabulary),
    /// It types in this conversation, or no more.
    Typing(Box<str>, bool),
    /// What the user wants to be seen as.
    Show(String),
    /// The end.
    Close(u16, &'static str),
}

/// Why an operation has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The database is away or refuses.
    Unavailable,
    /// Too much is under way.
    Overloaded,
    /// The user has sent too many messages; one more may go after so many seconds.
    Limited(i64),
}

#[derive(Debug)]
struct Channel {
    topic: Box<str>,
    join_ref: Option<Reference>,
    /// Unix seconds.
    typing_until_s: Option<i64>,
}

#[derive(Debug)]
struct Busy {
    push: Push,
    manner: Manner,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Socket {
    user: Uuid,
    vsn: Vsn,
    vocabulary: Vocabulary,
    /// The first push of only one vocabulary has told.
    is_locked: bool,
    channels: Vec<Channel>,
    busy: Option<Busy>,
    /// With the bytes of its frame.
    waiting: VecDeque<(Push, usize)>,
    waiting_bytes: usize,
}

impl Socket {
    pub(super) fn new(user: Uuid, vsn: Vsn, vocabulary: Vocabulary) -> Self {
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

    /// The channels that it is on.
    pub(super) fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.iter().map(|channel| &*channel.topic)
    }

    /// A client's text frame.
    pub(super) fn hear(&mut self, text: &str, now_s: i64, steps: &mut Vec<Step>) {
        match phoenix::decode(self.vsn, text) {
            Ok(push) => self.take(push, text.len(), now_s, steps),
            Err(_) => steps.push(Step::Close(1003, "not a frame of the version asked for")),
        }
    }

    /// A client's binary frame.
    pub(super) fn hear_binary(&mut self, bytes: &[u8], now_s: i64, steps: &mut Vec<Step>) {
        match phoenix::decode_binary(bytes) {
            Ok(push) if self.vsn == Vsn::V2 => self.take(push, bytes.len(), now_s, steps),
            _ => steps.push(Step::Close(1003, "not a binary push of version 2")),
        }
    }

    fn take(&mut self, push: Push, bytes: usize, now_s: i64, steps: &mut Vec<Step>) {
        if &*push.topic == "phoenix" {
            let known = &*push.event == "heartbeat";
            let (status, response) = if known {
                (Status::Ok, json!({}))
            } else {
                (Status::Error, reason("unmatched topic"))
            };
            return self.reply(&push, status, &response, steps);
        }
        if self.busy.is_none() {
            return self.handle(push, now_s, steps);
        }
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes + bytes > MAX_WAITING_BYTES {
            return self.reply(&push, Status::Error, &reason("overloaded"), steps);
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back((push, bytes));
    }

    /// What came of the operation under way. What waited goes on.
    pub(super) fn answered(
        &mut self,
        answer: Result<Answer, Failure>,
        now_s: i64,
        steps: &mut Vec<Step>,
    ) {
        let Some(Busy { push, manner }) = self.busy.take() else {
            return;
        };
        match (manner, answer) {
            (Manner::Arrive, answer) => self.arrived(&push, answer, now_s, steps),
            (Manner::Join, Ok(answer)) => self.joined(&push, &answer, steps),
            (manner, answer) => {
                let (status, response) = reply::of(manner, self.vocabulary, answer);
                self.reply(&push, status, &response, steps);
            }
        }
        while self.busy.is_none()
            && let Some((push, bytes)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= bytes;
            self.handle(push, now_s, steps);
        }
    }

    /// When [`Socket::on_time`] has something to do, Unix seconds.
    pub(super) fn next_time(&self) -> Option<i64> {
        self.channels
            .iter()
            .filter_map(|channel| channel.typing_until_s)
            .min()
    }

    /// Ends typing that nobody has ended.
    pub(super) fn on_time(&mut self, now_s: i64, steps: &mut Vec<Step>) {
        for channel in &mut self.channels {
            if channel.typing_until_s.is_some_and(|until| until <= now_s) {
                channel.typing_until_s = None;
                steps.push(Step::Typing(channel.topic.clone(), false));
            }
        }
    }

    /// A channel has ended for it, and the client was told.
    pub(super) fn put_out(&mut self, topic: &str, steps: &mut Vec<Step>) {
        let Some(at) = self
            .channels
            .iter()
            .position(|channel| *channel.topic == *topic)
        else {
            return;
        };
        let channel = self.channels.swap_remove(at);
        if channel.typing_until_s.is_some() {
            steps.push(Step::Typing(channel.topic, false));
        }
    }

    /// The connection has ended: whoever was typing is no more.
    pub(super) fn ended(&mut self, steps: &mut Vec<Step>) {
        self.on_time(i64::MAX, steps);
    }

    fn handle(&mut self, push: Push, now_s: i64, steps: &mut Vec<Step>) {
        match &*push.event {
            "phx_join" => self.join(push, steps),
            "phx_leave" => self.leave(&push, steps),
            _ => match self
                .channels
                .iter()
                .position(|channel| channel.topic == push.topic)
            {
                None => self.reply(&push, Status::Error, &reason("unmatched topic"), steps),
                // Meant for an earlier join: the client has forgotten it.
                Some(at)
                    if push.join_ref.is_some() && self.channels[at].join_ref != push.join_ref => {}
                Some(at) => self.push(at, push, now_s, steps),
            },
        }
    }

    fn join(&mut self, push: Push, steps: &mut Vec<Step>) {
        if let Some(at) = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic)
        {
            self.exit(at, steps);
        }
        if self.channels.len() >= MAX_CHANNELS {
            return self.reply(
                &push,
                Status::Error,
                &reason("too many channels joined"),
                steps,
            );
        }
        match push.topic.split_once(':') {
            Some(("user", _)) if *push.topic == *user_channel(self.user) => {
                let response = json!({"status": "connected", "user_id": self.user});
                self.enter(&push, &response, steps);
                self.ask(push, Manner::Arrive, Operation::Arrive, steps);
            }
            Some(("user", _)) => self.reply(&push, Status::Error, &reason("unauthorized"), steps),
            // Only the canonical form: broadcasts carry it, and a client knows its channel by the very name that it joined.
            Some(("conversation", id)) => match id
                .parse()
                .ok()
                .filter(|id| *push.topic == *conversation_channel(*id))
            {
                Some(id) => self.ask(push, Manner::Join, Operation::Enter(id), steps),
                None => self.reply(
                    &push,
                    Status::Error,
                    &reason("conversation_not_found"),
                    steps,
                ),
            },
            _ => self.reply(&push, Status::Error, &reason("unmatched topic"), steps),
        }
    }

    fn enter(&mut self, push: &Push, response: &Value, steps: &mut Vec<Step>) {
        let join_ref = push.join_ref.clone();
        self.channels.push(Channel {
            topic: push.topic.clone(),
            join_ref,
            typing_until_s: None,
        });
        self.reply(push, Status::Ok, response, steps);
        steps.push(Step::Enter(push.topic.clone()));
    }

    fn joined(&mut self, push: &Push, answer: &Answer, steps: &mut Vec<Step>) {
        match reply::joined(self.vocabulary, answer) {
            Ok(response) => self.enter(push, &response, steps),
            Err(response) => self.reply(push, Status::Error, &response, steps),
        }
    }

    fn leave(&mut self, push: &Push, steps: &mut Vec<Step>) {
        self.reply(push, Status::Ok, &json!({}), steps);
        let at = self
            .channels
            .iter()
            .position(|channel| channel.topic == push.topic);
        if let Some(at) =
            at.filter(|at| push.join_ref.is_none() || self.channels[*at].join_ref == push.join_ref)
        {
            self.exit(at, steps);
        }
    }

    /// Ends a channel, and tells the client so.
    fn exit(&mut self, at: usize, steps: &mut Vec<Step>) {
        let channel = self.channels.swap_remove(at);
        if channel.typing_until_s.is_some() {
            steps.push(Step::Typing(channel.topic.clone(), false));
        }
        steps.push(Step::Exit(channel.topic.clone()));
        let join_ref = channel.join_ref.as_ref();
        steps.push(Step::Say(phoenix::message(
            self.vsn,
            join_ref,
            join_ref,
            &channel.topic,
            "phx_close",
            "{}",
        )));
    }

    fn push(&mut self, at: usize, push: Push, now_s: i64, steps: &mut Vec<Step>) {
        self.lock(&push.event, steps);
        let Payload::Json(payload) = &push.payload else {
            return self.reply(&push, Status::Error, &reason("invalid_payload"), steps);
        };
        match push::read(&push.topic, &push.event, payload, self.vocabulary) {
            Asked::Operation(manner, operation) => self.ask(push, manner, operation, steps),
            Asked::Typing(is_typing) => self.typing(at, is_typing, now_s, steps),
            Asked::Status(status, is_answered) => {
                if is_answered {
                    self.reply(&push, Status::Ok, &json!({"status": status}), steps);
                }
                steps.push(Step::Show(status));
            }
            Asked::Known(response) => self.reply(&push, Status::Ok, &response, steps),
            Asked::Wrong(response) => self.reply(&push, Status::Error, &response, steps),
            Asked::Nothing => {}
        }
    }

    fn lock(&mut self, event: &str, steps: &mut Vec<Step>) {
        let Some(told) = Vocabulary::of_push(event).filter(|_| !self.is_locked) else {
            return;
        };
        self.is_locked = true;
        if told != self.vocabulary {
            self.vocabulary = told;
            steps.push(Step::Speak(told));
        }
    }

    fn typing(&mut self, at: usize, is_typing: bool, now_s: i64, steps: &mut Vec<Step>) {
        let channel = &mut self.channels[at];
        let was_typing = channel.typing_until_s.is_some();
        channel.typing_until_s = is_typing.then_some(now_s + TYPING_S);
        if is_typing || was_typing {
            steps.push(Step::Typing(channel.topic.clone(), is_typing));
        }
    }

    fn ask(&mut self, push: Push, manner: Manner, operation: Operation, steps: &mut Vec<Step>) {
        self.busy = Some(Busy { push, manner });
        steps.push(Step::Ask(operation));
    }

    /// What a user's channel brings behind the answer to its join.
    fn arrived(
        &self,
        push: &Push,
        answer: Result<Answer, Failure>,
        now_s: i64,
        steps: &mut Vec<Step>,
    ) {
        // It may have left meanwhile.
        let Some(channel) = self
            .channels
            .iter()
            .find(|channel| channel.topic == push.topic)
        else {
            return;
        };
        let mut say = |event: &str, payload: Value| {
            let text = phoenix::message(
                self.vsn,
                channel.join_ref.as_ref(),
                None,
                &push.topic,
                event,
                &payload.to_string(),
            );
            steps.push(Step::Say(text));
        };
        for (event, payload) in reply::arrived(self.user, self.vocabulary, answer, now_s) {
            say(event, payload);
        }
    }

    /// Who gave no reference expects no answer.
    fn reply(&self, push: &Push, status: Status, response: &Value, steps: &mut Vec<Step>) {
        if push.reference.is_some() {
            steps.push(Step::Say(phoenix::reply(
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

/// Says a frame a line to a socket, text and binary, and looks that it keeps what it promises.
#[cfg(any(test, fuzzing))]
pub(crate) fn exercise(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else {
        return;
    };
    let (user, vsn) = (
        Uuid::from_u128(1),
        if *first == b'2' { Vsn::V2 } else { Vsn::V1 },
    );
    let (mut socket, mut steps) = (Socket::new(user, vsn, Vocabulary::Head), Vec::new());
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line) {
            Ok(text) => socket.hear(text, 0, &mut steps),
            Err(_) => socket.hear_binary(line, 0, &mut steps),
        }
        if number % 3 == 0 {
            socket.answered(Err(Failure::Unavailable), 0, &mut steps);
        }
        let asked = steps
            .iter()
            .filter(|step| matches!(step, Step::Ask(_)))
            .count();
        assert!(asked <= 2 && usize::from(socket.busy.is_some()) <= asked + 1);
        assert!(socket.waiting.len() <= MAX_WAITING && socket.channels.len() <= MAX_CHANNELS);
        steps.clear();
    }
}

#[cfg(test)]
mod tests;
