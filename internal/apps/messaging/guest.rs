//! A socket on its shard: the state machine's steps, done.

use std::sync::Arc;

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::apps::messaging::frames::encode;
use crate::apps::messaging::payload::iso;
use crate::apps::messaging::socket::{Failure, Socket, Step};
use crate::apps::messaging::store::{Answer, Operation};
use crate::apps::messaging::vocabulary::{Vocabulary, dismissal, presence, roster};
use crate::apps::messaging::{NAME, OPERATION, Shared};
use crate::auth::Principal;
use crate::hub::exchange::{ConnId, Dialect, Event, Identity, Join, Publish};
use crate::ident::UserId;
use crate::protocol::Frame;
use crate::protocol::phoenix::{self, Vsn};
use crate::shard::{Acts, Answered, Berth, Guest, Heard, Now};

/// How often a token that may be revoked is looked at, in seconds.
const REVOCATION_S: i64 = 10;

/// What a token said of a client that comes in.
#[derive(Debug, Clone)]
pub(super) struct Passport {
    pub(super) user: Uuid,
    /// What else the token said; its issuer may revoke it.
    pub(super) principal: Arc<Principal>,
    pub(super) vsn: Vsn,
}

/// The numbers of the two ways to write a frame, among all apps' dialects.
const V1: Dialect = Dialect(2);
const V2: Dialect = Dialect(3);

/// What an operation under way comes back with: its answer, and how many memberships had ended when it was asked.
struct Came(Result<Answer, Failure>, u64);

pub(super) struct Client {
    shared: Arc<Shared>,
    socket: Socket,
    /// None: the exchange would not have it.
    id: Option<ConnId>,
    user: UserId,
    passport: Passport,
    since_s: i64,
    /// The operation under way, to be asked again if a membership ends meanwhile.
    asked: Option<Operation>,
    has_expired: bool,
    /// When to look whether the token was revoked, Unix seconds.
    look_at_s: i64,
    /// How often the user had been put out of a conversation when the channels were last looked at.
    removals: u64,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, passport: Passport, berth: &Berth) -> Self {
        let user = UserId::new(&passport.user.to_string());
        let identity = Identity {
            user: Some(user.clone()),
            session: passport.principal.session().map(Into::into),
            role: None,
        };
        let here = [Join::new(presence(passport.user))];
        let dialect = if passport.vsn == Vsn::V2 { V2 } else { V1 };
        let id = shared
            .exchange
            .attach(&berth.port, dialect, berth.address, identity, &here)
            .ok();
        let socket = Socket::new(passport.user, passport.vsn, shared.vocabulary);
        let (since_s, removals) = (shared.clock.unix_s(), shared.roll.removals(passport.user));
        Self {
            shared,
            socket,
            id,
            user,
            passport,
            since_s,
            asked: None,
            has_expired: false,
            look_at_s: since_s + REVOCATION_S,
            removals,
        }
    }

    fn run(&mut self, steps: Vec<Step>, now: Now, acts: &mut Acts<'_>) {
        let mut steps: std::collections::VecDeque<Step> = steps.into();
        while let Some(step) = steps.pop_front() {
            match step {
                Step::Say(text) => acts.say(&text),
                Step::Close(code, reason) => acts.close(code, reason),
                Step::Ask(operation) => {
                    if let Err(failure) = self.ask(operation, now, acts) {
                        let mut more = Vec::new();
                        self.socket.answered(Err(failure), now.unix_s, &mut more);
                        // Before whatever came after it, as if the store had answered so.
                        more.into_iter()
                            .rev()
                            .for_each(|step| steps.push_front(step));
                    }
                }
                Step::Enter(channel) => self.enter(&channel),
                Step::Exit(channel) => self.exit(&channel),
                Step::Speak(vocabulary) => self.speak(vocabulary),
                Step::Typing(channel, is_typing) => {
                    self.typing(&channel, is_typing, now, Some(acts))
                }
                Step::Show(status) => self.show(&status, now),
            }
        }
    }

    /// Forgets channels that the feed has put the connection out of.
    fn look_around(&mut self, steps: &mut Vec<Step>) {
        let removals = self.shared.roll.removals(self.passport.user);
        let Some(id) = self.id.filter(|_| removals != self.removals) else {
            return;
        };
        self.removals = removals;
        let is_on = |channel: &str| {
            let list = self.shared.exchange.list(&roster(channel));
            list.iter()
                .any(|present| present.entries.iter().any(|entry| entry.connection == id))
        };
        let channels = self
            .socket
            .channels()
            .filter(|channel| channel.starts_with("conversation:") && !is_on(channel));
        let gone: Vec<Box<str>> = channels.map(Into::into).collect();
        for channel in gone {
            self.socket.put_out(&channel, steps);
        }
    }

    fn ask(&mut self, operation: Operation, now: Now, acts: &mut Acts<'_>) -> Result<(), Failure> {
        if matches!(operation, Operation::Send(..)) {
            self.shared
                .messages
                .take(self.passport.user, now.unix_s)
                .map_err(Failure::Limited)?;
        }
        self.asked = matches!(operation, Operation::Enter(_)).then(|| operation.clone());
        let ended = self.shared.gate.count();
        let call = self
            .shared
            .store
            .call(self.passport.user, operation, self.shared.windows);
        let answer = async move {
            let answer = timeout(OPERATION, call).await;
            let answer = answer.map_err(|_| Failure::Unavailable).and_then(|answer| {
                answer.map_err(|error| {
                    tracing::warn!(%error, "a messaging operation failed");
                    Failure::Unavailable
                })
            });
            Came(answer, ended)
        };
        if acts.ask(answer) {
            Ok(())
        } else {
            Err(Failure::Overloaded)
        }
    }

    /// On the topics of a channel. Presence is announced on conversations alone.
    fn enter(&self, channel: &str) {
        let Some(id) = self.id else { return };
        let mut joins = vec![Join::new(self.socket.vocabulary().topic(channel))];
        if channel.starts_with("conversation:") {
            joins.push(Join::new(dismissal(channel, self.passport.user)));
            joins.push(Join::new(roster(channel)).meta(self.meta(channel)));
        }
        if let Err(error) = self.shared.exchange.join(id, &joins) {
            tracing::warn!(%error, "a channel could not be entered");
        }
    }

    fn exit(&self, channel: &str) {
        let Some(id) = self.id else { return };
        for topic in [
            roster(channel),
            self.socket.vocabulary().topic(channel),
            dismissal(channel, self.passport.user),
        ] {
            self.shared.exchange.leave(id, &topic);
        }
    }

    /// Moves what is said on every channel from one vocabulary to the other. Under the gate: each change comes in one of them.
    fn speak(&self, vocabulary: Vocabulary) {
        let Some(id) = self.id else { return };
        self.shared.gate.pass(|_| {
            for channel in self.socket.channels() {
                for old in Vocabulary::ALL.into_iter().filter(|old| *old != vocabulary) {
                    // Whoever was put out of it stays out.
                    if self.shared.exchange.leave(id, &old.topic(channel)) {
                        let _ = self
                            .shared
                            .exchange
                            .join(id, &[Join::new(vocabulary.topic(channel))]);
                    }
                }
            }
        });
    }

    fn typing(&self, channel: &str, is_typing: bool, now: Now, acts: Option<&mut Acts<'_>>) {
        let Some(id) = self.id else { return };
        if is_typing
            && self
                .shared
                .typing
                .take(self.passport.user, now.unix_s)
                .is_err()
        {
            return;
        }
        let action = if is_typing { "start" } else { "stop" };
        let told = json!({"user_id": self.passport.user, "action": action, "timestamp": iso(now.unix_s.saturating_mul(1_000_000))});
        let conversation = channel.strip_prefix("conversation:").unwrap_or(channel);
        let shown = json!({"userId": self.passport.user, "typing": is_typing, "conversationId": conversation}).to_string();
        let publish = |vocabulary: Vocabulary, event: &str, payload: String| {
            // Typing is of the moment: a shard too far behind for it need not have it.
            let _ = self.shared.exchange.publish(
                Publish::new([vocabulary.topic(channel)], event, payload).except_connection(id),
            );
        };
        publish(Vocabulary::Document, "typing_indicator", told.to_string());
        publish(Vocabulary::Head, "user_typing", shown.clone());
        // The newest clients are told of their own typing as well.
        if let (Some(acts), Vocabulary::Head) = (acts, self.socket.vocabulary()) {
            acts.say(&phoenix::broadcast(
                self.passport.vsn,
                channel,
                "user_typing",
                &shown,
            ));
        }
    }

    /// Every list that the socket is on shows the status from now on.
    fn show(&self, status: &str, now: Now) {
        let Some(id) = self.id else { return };
        self.shared.roll.show(self.passport.user, status);
        let timestamp = iso(now.unix_s.saturating_mul(1_000_000));
        let payload =
            json!({"userId": self.passport.user, "status": status, "timestamp": timestamp})
                .to_string();
        for channel in self
            .socket
            .channels()
            .filter(|channel| channel.starts_with("conversation:"))
        {
            if self
                .shared
                .exchange
                .update(id, &roster(channel), self.meta(channel))
            {
                let topics = Vocabulary::ALL.map(|vocabulary| vocabulary.topic(channel));
                let _ = self.shared.exchange.publish(Publish::new(
                    topics,
                    "user_status_changed",
                    payload.as_str(),
                ));
            }
        }
    }

    fn meta(&self, channel: &str) -> String {
        json!({
            "online_at": self.since_s.to_string(),
            "conversation_id": channel.strip_prefix("conversation:"),
            "status": self.shared.roll.status(self.passport.user),
            "user_id": self.passport.user,
            "device_info": {"platform": "unknown", "version": "unknown"},
        })
        .to_string()
    }

    /// Takes an answer, unless it is a membership that may have ended since: that one is asked again.
    fn came(&mut self, Came(answer, ended): Came, now: Now, acts: &mut Acts<'_>) {
        let again = self.asked.take();
        let shared = Arc::clone(&self.shared);
        let is_membership = matches!(answer, Ok(Answer::Entered(_, Some(_))));
        let steps = shared.gate.pass(|count| {
            if is_membership && *count != ended {
                return again.map(|operation| vec![Step::Ask(operation)]);
            }
            let mut steps = Vec::new();
            self.socket.answered(answer, now.unix_s, &mut steps);
            // Under the gate: a membership that ends from now on finds the socket there. Nothing stands before a join's own step.
            let entered = steps
                .iter()
                .position(|step| matches!(step, Step::Enter(_)))
                .filter(|_| is_membership);
            if let Some(Step::Enter(channel)) = entered.map(|at| steps.remove(at)) {
                self.enter(&channel);
            }
            Some(steps)
        });
        self.run(steps.unwrap_or_default(), now, acts);
    }
}

impl Guest for Client {
    fn hear(&mut self, heard: Heard<'_>, now: Now, acts: &mut Acts<'_>) {
        let mut steps = Vec::new();
        self.look_around(&mut steps);
        match heard {
            _ if self.id.is_none() => steps.push(Step::Close(1011, "no room")),
            Heard::Text(text) => self.socket.hear(text, now.unix_s, &mut steps),
            Heard::Binary(bytes) => self.socket.hear_binary(bytes, now.unix_s, &mut steps),
        }
        self.run(steps, now, acts);
    }

    fn answered(&mut self, answer: Answered, now: Now, acts: &mut Acts<'_>) {
        if let Ok(came) = answer.downcast::<Came>() {
            self.came(*came, now, acts);
        }
    }

    fn on_time(&mut self, now: Now, acts: &mut Acts<'_>) {
        let mut steps = Vec::new();
        self.socket.on_time(now.unix_s, &mut steps);
        let principal = &self.passport.principal;
        let is_over = now.unix_s >= principal.ends_at_s() || principal.is_revoked();
        if is_over && !self.has_expired {
            self.has_expired = true;
            steps.push(Step::Close(4001, "token expired"));
        }
        self.look_at_s = now.unix_s + REVOCATION_S;
        self.run(steps, now, acts);
    }

    fn next_time(&self) -> Option<i64> {
        let principal = &self.passport.principal;
        let expiry = (!self.has_expired).then(|| principal.ends_at_s());
        let look = (!self.has_expired && principal.may_be_revoked()).then_some(self.look_at_s);
        self.socket
            .next_time()
            .into_iter()
            .chain(expiry)
            .chain(look)
            .min()
    }

    fn encode(&self, event: &Event) -> Frame {
        Frame::text(&encode(self.passport.vsn, event))
    }

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut steps = Vec::new();
        self.socket.ended(&mut steps);
        let now = Now {
            unix_s: self.shared.clock.unix_s(),
        };
        for step in steps {
            if let Step::Typing(channel, is_typing) = step {
                self.typing(&channel, is_typing, now, None);
            }
        }
        if let Some(id) = self.id {
            self.shared.exchange.disconnect(id);
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(NAME)
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}
