//! A messaging connection on its shard. Carries out the effects that the pure channel session
//! returns.

use std::sync::Arc;

use tokio::time::timeout;
use uuid::Uuid;

use crate::api_version::{ClientApiVersion, channel_presence_topic, user_presence_topic};
use crate::channels::{ChannelEffect, ChannelSession, OperationError};
use crate::frames::encode_event;
use crate::name::NAME;
use crate::shared::{MessagingShared, OPERATION_TIMEOUT};
use crate::store::{StoreOperation, StoreResponse};
use crate::user_rate_limit::UserRateLimit;
use latido_auth::Principal;
use latido_base::ident::UserId;
use latido_event_bus::{BusEvent, ConnectionId, EncodingId, Identity, JoinRequest};
use latido_protocol::Frame;
use latido_protocol::phoenix::SerializerVersion;
use latido_shard::{
    Actions, AsyncResult, ClientMessage, HandlerContext, ProtocolHandler, Timestamp,
};

/// The verified identity of a client that connects, taken from its token.
#[derive(Debug, Clone)]
pub(super) struct VerifiedClient {
    pub(super) user_id: Uuid,
    /// The token's other claims; the issuer may revoke the token.
    pub(super) principal: Arc<Principal>,
    pub(super) vsn: SerializerVersion,
    /// The API version that the client is assumed to use until it shows another.
    pub(super) api_version: ClientApiVersion,
}

/// The ids of the two frame encodings. They must be unique among the encodings of all apps.
const ENCODING_V1: EncodingId = EncodingId(2);
const ENCODING_V2: EncodingId = EncodingId(3);

/// The result of an operation, with the membership epoch at the time when the operation started.
struct OperationResult(Result<StoreResponse, OperationError>, u64);

pub(super) struct PhoenixConnection {
    pub(super) shared: Arc<MessagingShared>,
    pub(super) session: ChannelSession,
    /// `None` if the event bus refused the connection.
    pub(super) connection_id: Option<ConnectionId>,
    pub(super) user: UserId,
    pub(super) verified: VerifiedClient,
    pub(super) connected_at_s: i64,
    /// The membership check in progress. It is repeated if a membership ends meanwhile.
    pub(super) membership_check: Option<StoreOperation>,
    pub(super) has_expired: bool,
    /// The time of the next check of the token, in Unix seconds.
    pub(super) token_check_at_s: i64,
    /// The user's removal count when the channels were last compared with the event bus.
    pub(super) seen_removals: u64,
}

impl PhoenixConnection {
    pub(super) fn new(
        shared: Arc<MessagingShared>,
        verified: VerifiedClient,
        context: &HandlerContext,
    ) -> Self {
        let user = UserId::new(&verified.user_id.to_string());
        let identity = Identity {
            user: Some(user.clone()),
        };
        let topics = [JoinRequest::new(user_presence_topic(verified.user_id))];
        let encoding = if verified.vsn == SerializerVersion::V2 {
            ENCODING_V2
        } else {
            ENCODING_V1
        };
        let connection_id = shared
            .event_bus
            .connect_on_shard(
                &context.queue,
                encoding,
                context.connection_slot,
                identity,
                &topics,
            )
            .ok();
        let session = ChannelSession::new(verified.user_id, verified.vsn, verified.api_version);
        let (connected_at_s, seen_removals) = (
            shared.clock.unix_s(),
            shared.presence_tracker.removal_count(verified.user_id),
        );
        let token_check_at_s = verified.principal.lifetime().next_check_s(connected_at_s);
        Self {
            shared,
            session,
            connection_id,
            user,
            verified,
            connected_at_s,
            membership_check: None,
            has_expired: false,
            token_check_at_s,
            seen_removals,
        }
    }

    fn apply_effects(
        &mut self,
        effects: Vec<ChannelEffect>,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) {
        let mut effects: std::collections::VecDeque<ChannelEffect> = effects.into();
        while let Some(effect) = effects.pop_front() {
            match effect {
                ChannelEffect::SendText(text) => actions.send_text(&text),
                ChannelEffect::Close(code, reason) => actions.close(code, reason),
                ChannelEffect::Execute(operation) => {
                    if let Err(failure) = self.start_operation(operation, now, actions) {
                        let mut more = Vec::new();
                        self.session.on_result(Err(failure), now.unix_s, &mut more);
                        // These effects go before the remaining ones, in the order that a store
                        // response would have.
                        more.into_iter()
                            .rev()
                            .for_each(|effect| effects.push_front(effect));
                    }
                }
                ChannelEffect::Subscribe(channel) => self.join_topics(&channel),
                ChannelEffect::Unsubscribe(channel) => self.leave_topics(&channel),
                ChannelEffect::SwitchVersion(api_version) => self.switch_version(api_version),
                ChannelEffect::Typing(channel, is_typing) => {
                    self.publish_typing(&channel, is_typing, now, Some(actions))
                }
                ChannelEffect::SetStatus(status, push) => {
                    let outcome = acquire(&self.shared.status_limit, self.verified.user_id, now);
                    let mut replies = Vec::new();
                    if let Some(push) = push {
                        self.session
                            .status_reply(&push, &status, outcome, &mut replies);
                    }
                    if outcome.is_ok() {
                        self.set_status(&status, now);
                    }
                    replies
                        .into_iter()
                        .for_each(|reply| effects.push_front(reply));
                }
            }
        }
    }

    /// Forgets channels from which the feed has removed the connection.
    fn sync_removals(&mut self, effects: &mut Vec<ChannelEffect>) {
        let removals = self
            .shared
            .presence_tracker
            .removal_count(self.verified.user_id);
        let Some(id) = self
            .connection_id
            .filter(|_| removals != self.seen_removals)
        else {
            return;
        };
        self.seen_removals = removals;
        let is_on = |channel: &str| {
            let list = self
                .shared
                .event_bus
                .present_users(&channel_presence_topic(channel));
            list.iter()
                .any(|present| present.entries.iter().any(|entry| entry.connection == id))
        };
        let channels = self
            .session
            .channels()
            .filter(|channel| channel.starts_with("conversation:") && !is_on(channel));
        let removed_channels: Vec<Box<str>> = channels.map(Into::into).collect();
        for channel in removed_channels {
            self.session.remove_channel(&channel, effects);
        }
    }

    fn start_operation(
        &mut self,
        operation: StoreOperation,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) -> Result<(), OperationError> {
        let limit = match operation {
            StoreOperation::Send(..) => Some(&self.shared.message_limit),
            StoreOperation::React(..) => Some(&self.shared.reaction_limit),
            StoreOperation::SyncUser | StoreOperation::CheckMembership(_) => {
                Some(&self.shared.join_limit)
            }
            _ => None,
        };
        if let Some(limit) = limit {
            acquire(limit, self.verified.user_id, now)?;
        }
        self.membership_check =
            matches!(operation, StoreOperation::CheckMembership(_)).then(|| operation.clone());
        let epoch = self.shared.membership_epoch.current();
        let call = self
            .shared
            .store
            .execute(self.verified.user_id, operation, self.shared.windows);
        let answer = async move {
            let answer = timeout(OPERATION_TIMEOUT, call).await;
            let answer = answer
                .map_err(|_| OperationError::Unavailable)
                .and_then(|answer| {
                    answer.map_err(|error| {
                        tracing::warn!(%error, "a messaging operation failed");
                        OperationError::Unavailable
                    })
                });
            OperationResult(answer, epoch)
        };
        if actions.spawn(answer) {
            Ok(())
        } else {
            Err(OperationError::Overloaded)
        }
    }

    /// Handles the result of an operation. Repeats a membership check if a membership has ended
    /// since it started.
    fn on_result(
        &mut self,
        OperationResult(answer, epoch): OperationResult,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) {
        let membership_check = self.membership_check.take();
        let shared = Arc::clone(&self.shared);
        let is_membership = matches!(answer, Ok(StoreResponse::Membership(_, Some(_))));
        let effects = shared.membership_epoch.with_lock(|count| {
            if is_membership && *count != epoch {
                return membership_check.map(|operation| vec![ChannelEffect::Execute(operation)]);
            }
            let mut effects = Vec::new();
            self.session.on_result(answer, now.unix_s, &mut effects);
            // Subscribing under the lock ensures that a later removal finds this socket. A join's
            // subscribe effect depends on no earlier effect, so it may run first.
            let entered = effects
                .iter()
                .position(|effect| matches!(effect, ChannelEffect::Subscribe(_)))
                .filter(|_| is_membership);
            if let Some(ChannelEffect::Subscribe(channel)) = entered.map(|at| effects.remove(at)) {
                self.join_topics(&channel);
            }
            Some(effects)
        });
        self.apply_effects(effects.unwrap_or_default(), now, actions);
    }
}

/// Takes one token of the user's allowance.
fn acquire(limit: &UserRateLimit, user: Uuid, now: Timestamp) -> Result<(), OperationError> {
    limit
        .try_acquire(user, now.unix_s)
        .map_err(|reached| OperationError::RateLimited(reached.retry_after_s))
}

impl ProtocolHandler for PhoenixConnection {
    fn on_message(
        &mut self,
        message: ClientMessage<'_>,
        now: Timestamp,
        actions: &mut Actions<'_>,
    ) {
        let mut effects = Vec::new();
        self.sync_removals(&mut effects);
        match message {
            _ if self.connection_id.is_none() => {
                effects.push(ChannelEffect::Close(1011, "no room"))
            }
            ClientMessage::Text(text) => self.session.on_text(text, now.unix_s, &mut effects),
            ClientMessage::Binary(bytes) => self.session.on_binary(bytes, now.unix_s, &mut effects),
        }
        self.apply_effects(effects, now, actions);
    }

    fn on_async_result(&mut self, answer: AsyncResult, now: Timestamp, actions: &mut Actions<'_>) {
        if let Ok(result) = answer.downcast::<OperationResult>() {
            self.on_result(*result, now, actions);
        }
    }

    fn on_timer(&mut self, now: Timestamp, actions: &mut Actions<'_>) {
        let mut effects = Vec::new();
        self.session.on_timer(now.unix_s, &mut effects);
        let lifetime = self.verified.principal.lifetime();
        if lifetime.ended(now.unix_s).is_some() && !self.has_expired {
            self.has_expired = true;
            effects.push(ChannelEffect::Close(4001, "token expired"));
        }
        self.token_check_at_s = lifetime.next_check_s(now.unix_s);
        self.apply_effects(effects, now, actions);
    }

    fn next_timer(&self) -> Option<i64> {
        let token_check = (!self.has_expired).then_some(self.token_check_at_s);
        self.session
            .next_timer()
            .into_iter()
            .chain(token_check)
            .min()
    }

    fn encode(&self, event: &BusEvent) -> Frame {
        Frame::text(&encode_event(self.verified.vsn, event))
    }

    fn user(&self) -> Option<&UserId> {
        Some(&self.user)
    }
}

impl Drop for PhoenixConnection {
    fn drop(&mut self) {
        let mut effects = Vec::new();
        self.session.on_disconnect(&mut effects);
        let now = Timestamp {
            unix_s: self.shared.clock.unix_s(),
        };
        for effect in effects {
            if let ChannelEffect::Typing(channel, is_typing) = effect {
                self.publish_typing(&channel, is_typing, now, None);
            }
        }
        if let Some(id) = self.connection_id {
            self.shared.event_bus.disconnect(id);
        }
    }
}

impl std::fmt::Debug for PhoenixConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(NAME)
            .field("socket", &self.session)
            .finish_non_exhaustive()
    }
}
