//! The native protocol's state of one connection: the effect of each message, response and timer.

use std::sync::Arc;

use crate::error_effect::{error, error_code, forbidden};
use crate::rate_limit::{MessageRateLimit, RateDecision};
use crate::subscription::{HistoryState, Subscription, SubscriptionOrigin, SubscriptionState};
use crate::{
    CloseReason, PermissionAnswer, ReauthError, SessionContext, SessionEffect, SessionLimits,
};
use latido_auth::{Decision, Principal, TokenEnd};
use latido_base::ident::Channel;
use latido_protocol::{ClientCommand, ErrorCode, ServerReply, native};
use latido_stream::ChannelError;

/// The session of one native connection.
#[derive(Debug)]
pub struct Session {
    pub(super) principal: Arc<Principal>,
    pub(super) subscriptions: Vec<Subscription>,
    rate_limit: MessageRateLimit,
    /// Set while a new token is being verified; only one is verified at a time.
    is_verifying: bool,
    /// Set once the client was notified that its token expires soon.
    has_warned: bool,
    /// Set while a history is being read for this client; only one is read at a time.
    pub(super) is_reading_history: bool,
}

impl Session {
    /// Creates the session of a client whose token was verified.
    pub fn new(principal: Arc<Principal>, limits: &SessionLimits, now_s: u32) -> Self {
        Self {
            principal,
            subscriptions: Vec::new(),
            rate_limit: MessageRateLimit::new(limits, now_s),
            is_verifying: false,
            has_warned: false,
            is_reading_history: false,
        }
    }

    /// Returns the verified principal of the client.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Counts a message or a fragment, with the [cost](crate::message_cost) of its bytes, against
    /// the rate limit. Returns `Some` if the message must not be handled.
    pub fn check_rate(
        &mut self,
        context: &SessionContext,
        cost: u32,
        now_s: u32,
    ) -> Option<SessionEffect> {
        match self.rate_limit.check(&context.limits, cost, now_s) {
            RateDecision::Allow => None,
            RateDecision::Drop { is_first: true } => {
                let message = format!(
                    "at most {} messages a second",
                    context.limits.messages_per_second
                );
                Some(error(ErrorCode::RateLimited, message, None))
            }
            RateDecision::Drop { is_first: false } => Some(SessionEffect::None),
            RateDecision::Disconnect => Some(SessionEffect::Close(CloseReason::TooManyMessages)),
        }
    }

    /// Handles a text message and returns its effect.
    pub fn on_text(&mut self, text: &str, context: &SessionContext) -> SessionEffect {
        match native::decode(text) {
            Ok(ClientCommand::Subscribe {
                channel,
                wants_history,
            }) => self.on_subscribe(channel, wants_history, context),
            Ok(ClientCommand::Unsubscribe { channel }) => self.unsubscribe(channel, context),
            Ok(ClientCommand::Ping) => SessionEffect::Reply(ServerReply::Pong),
            Ok(ClientCommand::Auth { .. }) if self.is_verifying => error(
                ErrorCode::RateLimited,
                "another token is being verified".into(),
                None,
            ),
            Ok(ClientCommand::Auth { token }) => {
                self.is_verifying = true;
                SessionEffect::VerifyToken(token)
            }
            Err(reason) => error(ErrorCode::from(&reason), reason.to_string(), None),
        }
    }

    /// Subscribes a channel for the client. A subscription that waits is tried again, and goes on
    /// waiting if it fails again.
    fn on_subscribe(
        &mut self,
        name: String,
        wants_history: bool,
        context: &SessionContext,
    ) -> SessionEffect {
        let mut subscriptions = self.subscriptions.iter_mut();
        if let Some(waiting) = subscriptions.find(|s| *s.name == *name && s.awaits_stream()) {
            if wants_history {
                waiting.want_history();
            }
            let again = self.subscribe_anew(&name, SubscriptionOrigin::Replacement, context);
            return again.unwrap_or(SessionEffect::None);
        }
        self.subscribe(name, wants_history, SubscriptionOrigin::Client, context)
    }

    pub(super) fn subscribe(
        &mut self,
        name: String,
        wants_history: bool,
        origin: SubscriptionOrigin,
        context: &SessionContext,
    ) -> SessionEffect {
        if let Some(subscription) = self
            .subscriptions
            .iter_mut()
            .find(|subscription| *subscription.name == *name)
        {
            if wants_history {
                subscription.want_history();
            }
            return subscription
                .position()
                .map_or(SessionEffect::None, |position| {
                    SessionEffect::Resend(Arc::clone(&subscription.name), position)
                });
        }
        let history = HistoryState::wanted(wants_history);
        let channel = match context.catalog.resolve(&name) {
            Ok(channel) => channel,
            Err(reason) => {
                if reason == ChannelError::Broken
                    && self.subscriptions.len() < context.limits.channels
                {
                    self.push(
                        name.as_str().into(),
                        SubscriptionState::AwaitsStream,
                        history,
                    );
                }
                return error(error_code(&reason), reason.to_string(), Some(name));
            }
        };
        if self.subscriptions.len() >= context.limits.channels {
            let message = context.limits.too_many_channels_message();
            return error(ErrorCode::TooManyChannels, message, Some(name));
        }
        let effect = match context
            .policy
            .decide(&self.principal, &context.catalog, &channel)
        {
            Decision::Forbidden => return forbidden(name),
            Decision::Allowed => SessionEffect::Subscribe(channel.clone()),
            Decision::NeedsLookup => SessionEffect::CheckPermission(channel.clone()),
        };
        self.push(
            channel.name,
            SubscriptionState::AwaitsPermission(origin),
            history,
        );
        effect
    }

    /// Adds a subscription. The list grows by one element at a time: most clients have one channel,
    /// and no client has so many that copying them matters.
    fn push(&mut self, name: Arc<str>, state: SubscriptionState, history: HistoryState) {
        self.subscriptions.reserve_exact(1);
        self.subscriptions.push(Subscription {
            name,
            state,
            history,
            lease: None,
        });
    }

    /// Ends a subscription, which the server may have ended before.
    fn unsubscribe(&mut self, name: String, context: &SessionContext) -> SessionEffect {
        let Some(index) = self
            .subscriptions
            .iter()
            .position(|subscription| *subscription.name == *name)
        else {
            return match context.catalog.resolve(&name) {
                Err(reason @ (ChannelError::Unknown { .. } | ChannelError::InvalidKey(_))) => {
                    error(error_code(&reason), reason.to_string(), Some(name))
                }
                _ => SessionEffect::Reply(ServerReply::Unsubscribed(name.into())),
            };
        };
        let subscription = self.subscriptions.swap_remove(index);
        match subscription.position() {
            Some(position) => SessionEffect::Unsubscribe(subscription.name, position),
            None => SessionEffect::Reply(ServerReply::Unsubscribed(subscription.name)),
        }
    }

    /// Handles the result of [`SessionEffect::CheckPermission`]. An active subscription is kept if
    /// the permission is unknown.
    pub fn on_permission(
        &mut self,
        channel: Channel,
        answer: PermissionAnswer,
    ) -> Vec<SessionEffect> {
        let Some(index) = self
            .subscriptions
            .iter()
            .position(|subscription| subscription.name == channel.name)
        else {
            return Vec::new();
        };
        match (answer, self.subscriptions[index].position()) {
            (PermissionAnswer::Allowed, None) => vec![SessionEffect::Subscribe(channel)],
            (
                PermissionAnswer::Allowed | PermissionAnswer::Unknown | PermissionAnswer::Broken,
                Some(_),
            ) => Vec::new(),
            (PermissionAnswer::Forbidden, _) => self.revoke(index),
            (PermissionAnswer::Broken, None) => self.wait_for_stream(index),
            (PermissionAnswer::Unknown, None) => self.on_unknown_permission(index),
        }
    }

    /// Cancels a subscription that the client is not allowed to have, or no longer.
    fn revoke(&mut self, index: usize) -> Vec<SessionEffect> {
        let subscription = self.subscriptions.swap_remove(index);
        let leave = subscription
            .position()
            .map(|position| SessionEffect::Unsubscribe(Arc::clone(&subscription.name), position));
        std::iter::once(forbidden(subscription.name.to_string()))
            .chain(leave)
            .collect()
    }

    /// Returns whether a right of this client may be withdrawn in the database, so that
    /// [`Session::check_leases`] must be called now and then.
    pub fn has_leases(&self) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.lease.is_some())
    }

    /// Cancels the subscriptions whose rights the database has withdrawn, unless a claim grants them
    /// meanwhile.
    pub fn check_leases(&mut self, context: &SessionContext) -> Vec<SessionEffect> {
        let (catalog, policy) = (&context.catalog, &context.policy);
        let mut effects = Vec::new();
        for index in (0..self.subscriptions.len()).rev() {
            let subscription = &mut self.subscriptions[index];
            let lease = subscription.lease.as_ref();
            if !lease.is_some_and(|lease| lease.is_withdrawn()) {
                continue;
            }
            match catalog.resolve(&subscription.name) {
                Ok(channel)
                    if policy.decide(&self.principal, catalog, &channel) == Decision::Allowed =>
                {
                    subscription.lease = policy.lease(&self.principal, catalog, &channel);
                }
                _ => effects.append(&mut self.revoke(index)),
            }
        }
        effects
    }

    /// Returns the names of all channels that are subscribed, or wait for a permission check or for
    /// their stream.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.subscriptions
            .iter()
            .map(|subscription| &subscription.name)
    }

    /// Forgets all subscriptions, because the connection ends. The shard has removed them from its
    /// rooms.
    pub fn clear_subscriptions(&mut self) {
        self.subscriptions = Vec::new();
    }

    /// Handles the result of [`SessionEffect::VerifyToken`]. Channels that the new token does not
    /// grant directly are checked again or cancelled.
    pub fn on_reauth(
        &mut self,
        result: Result<Principal, ReauthError>,
        context: &SessionContext,
    ) -> Vec<SessionEffect> {
        self.is_verifying = false;
        let principal = match result {
            Ok(principal) if principal.user() == self.principal.user() => principal,
            Ok(_) => {
                return vec![error(
                    ErrorCode::Unauthorized,
                    "the token is another user's".into(),
                    None,
                )];
            }
            Err(ReauthError::Invalid(reason)) => {
                return vec![error(ErrorCode::Unauthorized, reason, None)];
            }
            // The error `unauthorized` would make the client reconnect, which a server that is too
            // busy should avoid.
            Err(ReauthError::Unavailable(reason)) => {
                return vec![error(ErrorCode::Unavailable, reason, None)];
            }
        };
        let expires_at = principal.expires_at_s();
        let mut effects = self.replace_principal(Arc::new(principal), context);
        effects.insert(
            0,
            SessionEffect::Reply(ServerReply::Authenticated { expires_at }),
        );
        effects
    }

    /// Replaces the principal after a token renewal for the same user. The client did not request
    /// it, so it gets no reply.
    pub fn replace_principal(
        &mut self,
        principal: Arc<Principal>,
        context: &SessionContext,
    ) -> Vec<SessionEffect> {
        self.principal = principal;
        self.has_warned = false;
        let mut effects = Vec::new();
        for index in (0..self.subscriptions.len()).rev() {
            let Ok(channel) = context.catalog.resolve(&self.subscriptions[index].name) else {
                continue;
            };
            let (catalog, policy) = (&context.catalog, &context.policy);
            let subscription = &mut self.subscriptions[index];
            subscription.lease = policy.lease(&self.principal, catalog, &channel);
            match policy.decide(&self.principal, catalog, &channel) {
                // The pending check is that of the old token, so its answer is not awaited.
                Decision::Allowed if subscription.position().is_none() => {
                    effects.push(SessionEffect::Subscribe(channel));
                }
                Decision::Allowed => {}
                Decision::NeedsLookup => effects.push(SessionEffect::CheckPermission(channel)),
                Decision::Forbidden => effects.append(&mut self.revoke(index)),
            }
        }
        effects
    }

    /// Handles the time `unix_s`: warns about a token that expires soon, or closes the connection
    /// when it has expired or was revoked.
    pub fn on_timer(&mut self, unix_s: i64, limits: &SessionLimits) -> SessionEffect {
        let at = self.principal.expires_at_s();
        match self.principal.lifetime().ended(unix_s) {
            Some(TokenEnd::Revoked) => return SessionEffect::Close(CloseReason::Revoked),
            Some(TokenEnd::Expired) => return SessionEffect::Close(CloseReason::Expired),
            None => {}
        }
        if !self.has_warned && unix_s >= at - i64::from(limits.expiry_notice_s) {
            self.has_warned = true;
            return SessionEffect::Reply(ServerReply::TokenExpiring { at });
        }
        SessionEffect::None
    }

    /// Returns the Unix second at which [`Session::on_timer`] is due next.
    pub fn next_timer(&self, limits: &SessionLimits) -> i64 {
        let at = self.principal.expires_at_s();
        if self.has_warned {
            self.principal.ends_at_s()
        } else {
            at - i64::from(limits.expiry_notice_s)
        }
    }
}
