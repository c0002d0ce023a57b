//! A messaging connection on its shard. Carries out the effects that the pure channel session
//! returns.

use std::sync::Arc;

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use crate::frames::encode;
use crate::payload::iso;
use crate::socket::{Failure, Socket, Step};
use crate::store::{Answer, Operation};
use crate::vocabulary::{Vocabulary, dismissal, presence, roster};
use crate::{NAME, OPERATION, Shared};
use latido_auth::Principal;
use latido_base::ident::UserId;
use latido_event_bus::{ConnectionId, EncodingId, BusEvent, Identity, JoinRequest, Publish};
use latido_protocol::Frame;
use latido_protocol::phoenix::{self, SerializerVersion};
use latido_shard::{Actions, AsyncResult, HandlerContext, ProtocolHandler, ClientMessage, Timestamp};

/// The interval between checks of a token that may be revoked, in seconds.
const REVOCATION_S: i64 = 10;

/// The verified identity of a client that connects, taken from its token.
#[derive(Debug, Clone)]
pub(super) struct Passport {
    pub(super) user: Uuid,
    /// The token's other claims; the issuer may revoke the token.
    pub(super) principal: Arc<Principal>,
    pub(super) vsn: SerializerVersion,
}

/// The ids of the two frame encodings. They must be unique among the encodings of all apps.
const V1: EncodingId = EncodingId(2);
const V2: EncodingId = EncodingId(3);

/// The result of an operation, with the membership epoch at the time when the operation started.
struct Came(Result<Answer, Failure>, u64);

pub(super) struct Client {
    shared: Arc<Shared>,
    socket: Socket,
    /// `None` if the event bus refused the connection.
    id: Option<ConnectionId>,
    user: UserId,
    passport: Passport,
    since_s: i64,
    /// The membership check in progress. It is repeated if a membership ends meanwhile.
    asked: Option<Operation>,
    has_expired: bool,
    /// The time of the next revocation check, in Unix seconds.
    look_at_s: i64,
    /// The user's removal count when the channels were last compared with the event bus.
    removals: u64,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, verified: Passport, context: &HandlerContext) -> Self {
        let user = UserId::new(&verified.user.to_string());
        let identity = Identity {
            user: Some(user.clone()),
            session: verified.principal.session().map(Into::into),
            role: None,
        };
        let topics = [JoinRequest::new(presence(verified.user))];
        let encoding = if verified.vsn == SerializerVersion::V2 { V2 } else { V1 };
        let id = shared
            .exchange
            .connect_on_shard(&context.queue, encoding, context.connection_slot, identity, &topics)
            .ok();
        let session = Socket::new(verified.user, verified.vsn, shared.vocabulary);
        let (connected_at_s, removals) =
            (shared.clock.unix_s(), shared.roll.removals(verified.user));
        Self {
            shared,
            socket: session,
            id,
            user,
            passport: verified,
            since_s: connected_at_s,
            asked: None,
            has_expired: false,
            look_at_s: connected_at_s + REVOCATION_S,
            removals,
        }
    }

    fn run(&mut self, effects: Vec<Step>, now: Timestamp, actions: &mut Actions<'_>) {
        let mut effects: std::collections::VecDeque<Step> = effects.into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Step::Say(text) => actions.send_text(&text),
                Step::Close(code, reason) => actions.close(code, reason),
                Step::Ask(operation) => {
                    if let Err(failure) = self.ask(operation, now, actions) {
                        let mut more = Vec::new();
                        self.socket.answered(Err(failure), now.unix_s, &mut more);
                        // These effects go before the remaining ones, in the order that a store
                        // response would have.
                        more.into_iter()
                            .rev()
                            .for_each(|effect| effects.push_front(effect));
                    }
                }
                Step::Enter(channel) => self.enter(&channel),
                Step::Exit(channel) => self.exit(&channel),
                Step::Speak(api_version) => self.speak(api_version),
                Step::Typing(channel, is_typing) => {
                    self.typing(&channel, is_typing, now, Some(actions))
                }
                Step::Show(status) => self.show(&status, now),
            }
        }
    }

    /// Forgets channels from which the feed has removed the connection.
    fn look_around(&mut self, effects: &mut Vec<Step>) {
        let removals = self.shared.roll.removals(self.passport.user);
        let Some(id) = self.id.filter(|_| removals != self.removals) else {
            return;
        };
        self.removals = removals;
        let is_on = |channel: &str| {
            let list = self.shared.exchange.present_users(&roster(channel));
            list.iter()
                .any(|present| present.entries.iter().any(|entry| entry.connection == id))
        };
        let channels = self
            .socket
            .channels()
            .filter(|channel| channel.starts_with("conversation:") && !is_on(channel));
        let removed_channels: Vec<Box<str>> = channels.map(Into::into).collect();
        for channel in removed_channels {
            self.socket.put_out(&channel, effects);
        }
    }

    fn ask(
        &mut self,
        operation: Operation,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) -> Result<(), Failure> {
        if matches!(operation, Operation::Send(..)) {
            self.shared
                .messages
                .take(self.passport.user, now.unix_s)
                .map_err(Failure::Limited)?;
        }
        self.asked = matches!(operation, Operation::Enter(_)).then(|| operation.clone());
        let epoch = self.shared.gate.count();
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
            Came(answer, epoch)
        };
        if actions.spawn(answer) {
            Ok(())
        } else {
            Err(Failure::Overloaded)
        }
    }

    /// Subscribes to the topics of a channel. Only conversations announce presence.
    fn enter(&self, channel: &str) {
        let Some(id) = self.id else { return };
        let mut joins = vec![JoinRequest::new(self.socket.vocabulary().topic(channel))];
        if channel.starts_with("conversation:") {
            joins.push(JoinRequest::new(dismissal(channel, self.passport.user)));
            joins.push(JoinRequest::new(roster(channel)).meta(self.meta(channel)));
        }
        if let Err(error) = self.shared.exchange.join(id, &joins) {
            tracing::warn!(%error, "a channel's topics could not be joined");
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

    /// Moves the subscriptions of every channel from one API version to the other. This runs under
    /// the membership lock, so each change arrives in exactly one of the versions.
    fn speak(&self, api_version: Vocabulary) {
        let Some(id) = self.id else { return };
        self.shared.gate.pass(|_| {
            for channel in self.socket.channels() {
                for old in Vocabulary::ALL
                    .into_iter()
                    .filter(|old| *old != api_version)
                {
                    // A client that was removed from the channel stays removed.
                    if self.shared.exchange.leave(id, &old.topic(channel)) {
                        let _ = self
                            .shared
                            .exchange
                            .join(id, &[JoinRequest::new(api_version.topic(channel))]);
                    }
                }
            }
        });
    }

    fn typing(&self, channel: &str, is_typing: bool, now: Timestamp, actions: Option<&mut Actions<'_>>) {
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
        let documented_payload = json!({"user_id": self.passport.user, "action": action, "timestamp": iso(now.unix_s.saturating_mul(1_000_000))});
        let conversation = channel.strip_prefix("conversation:").unwrap_or(channel);
        let current_payload = json!({"userId": self.passport.user, "typing": is_typing, "conversationId": conversation}).to_string();
        let publish = |api_version: Vocabulary, event: &str, payload: String| {
            // Typing is only of interest now: a shard that is too far behind may lose it.
            let _ = self.shared.exchange.publish(
                Publish::new([api_version.topic(channel)], event, payload).except_connection(id),
            );
        };
        publish(
            Vocabulary::Document,
            "typing_indicator",
            documented_payload.to_string(),
        );
        publish(Vocabulary::Head, "user_typing", current_payload.clone());
        // Clients of the current API also receive their own typing events.
        if let (Some(actions), Vocabulary::Head) = (actions, self.socket.vocabulary()) {
            actions.send_text(&phoenix::encode_broadcast(
                self.passport.vsn,
                channel,
                "user_typing",
                &current_payload,
            ));
        }
    }

    /// Sets the user's status in every presence list that contains this socket.
    fn show(&self, status: &str, now: Timestamp) {
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
                .update_meta(id, &roster(channel), self.meta(channel))
            {
                let topics = Vocabulary::ALL.map(|api_version| api_version.topic(channel));
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

    /// Handles the result of an operation. Repeats a membership check if a membership has ended
    /// since it started.
    fn came(&mut self, Came(answer, epoch): Came, now: Timestamp, actions: &mut Actions<'_>) {
        let membership_check = self.asked.take();
        let shared = Arc::clone(&self.shared);
        let is_membership = matches!(answer, Ok(Answer::Entered(_, Some(_))));
        let effects = shared.gate.pass(|count| {
            if is_membership && *count != epoch {
                return membership_check.map(|operation| vec![Step::Ask(operation)]);
            }
            let mut effects = Vec::new();
            self.socket.answered(answer, now.unix_s, &mut effects);
            // Subscribing under the lock ensures that a later removal finds this socket. A join's
            // subscribe effect depends on no earlier effect, so it may run first.
            let entered = effects
                .iter()
                .position(|effect| matches!(effect, Step::Enter(_)))
                .filter(|_| is_membership);
            if let Some(Step::Enter(channel)) = entered.map(|at| effects.remove(at)) {
                self.enter(&channel);
            }
            Some(effects)
        });
        self.run(effects.unwrap_or_default(), now, actions);
    }
}

impl ProtocolHandler for Client {
    fn on_message(&mut self, message: ClientMessage<'_>, now: Timestamp, actions: &mut Actions<'_>) {
        let mut effects = Vec::new();
        self.look_around(&mut effects);
        match message {
            _ if self.id.is_none() => effects.push(Step::Close(1011, "no room")),
            ClientMessage::Text(text) => self.socket.hear(text, now.unix_s, &mut effects),
            ClientMessage::Binary(bytes) => self.socket.hear_binary(bytes, now.unix_s, &mut effects),
        }
        self.run(effects, now, actions);
    }

    fn on_async_result(&mut self, answer: AsyncResult, now: Timestamp, actions: &mut Actions<'_>) {
        if let Ok(result) = answer.downcast::<Came>() {
            self.came(*result, now, actions);
        }
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let mut effects = Vec::new();
        self.socket.on_time(now.unix_s, &mut effects);
        let principal = &self.passport.principal;
        let is_over = now.unix_s >= principal.ends_at_s() || principal.is_revoked();
        if is_over && !self.has_expired {
            self.has_expired = true;
            effects.push(Step::Close(4001, "token expired"));
        }
        self.look_at_s = now.unix_s + REVOCATION_S;
        self.run(effects, now, actions);
    }

    fn next_timer(&self) -> Option<i64> {
        let principal = &self.passport.principal;
        let expiry = (!self.has_expired).then(|| principal.ends_at_s());
        let revocation_check =
            (!self.has_expired && principal.may_be_revoked()).then_some(self.look_at_s);
        self.socket
            .next_time()
            .into_iter()
            .chain(expiry)
            .chain(revocation_check)
            .min()
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        Frame::text(&encode(self.passport.vsn, event))
    }

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut effects = Vec::new();
        self.socket.ended(&mut effects);
        let now = Timestamp {
            unix_s: self.shared.clock.unix_s(),
        };
        for effect in effects {
            if let Step::Typing(channel, is_typing) = effect {
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
