//! The native protocol's state of one connection: the effect of each message, response and timer.

use std::sync::Arc;

use crate::bucket::{Bucket, Verdict};
use crate::{CloseReason, Limits};
use latido_auth::{Decision, Policy, Principal};
use latido_base::ident::Channel;
use latido_protocol::{ClientCommand, ErrorCode, ServerReply, native};
use latido_stream::{Catalog, ChannelError};

/// The data that all sessions of a server share.
#[derive(Debug, Clone)]
pub struct Context {
    /// The catalog of the streams.
    pub catalog: Arc<Catalog>,
    /// The policy that decides which user may read a topic.
    pub policy: Arc<Policy>,
    /// The limits of one client.
    pub limits: Limits,
}

/// An action that the shard must take.
#[derive(Debug)]
pub enum Effect {
    /// Take no action.
    None,
    /// Send this reply.
    Reply(ServerReply),
    /// Subscribe, reply, and send the newest frame; then call [`Session::on_subscribed`].
    Join(Channel),
    /// Reply and send the current frame again, because the subscription is active already.
    Again(Arc<str>, Seat),
    /// Cancel the subscription and reply.
    Leave(Arc<str>, Seat),
    /// Check in the database whether this user may read the channel. The result comes back through
    /// [`Session::on_permission`].
    Ask(Channel),
    /// Verify a new token. The result comes back through [`Session::on_reauth`].
    Verify(String),
    /// Close the connection for this reason.
    Close(CloseReason),
}

/// The reason for which a new token does not replace the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// The token is invalid; the text names the mistake.
    Refused(String),
    /// The token could not be checked now; it may be valid.
    Later(String),
}

/// The position of a subscription in its shard. The shard assigns it, and the session only stores
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The index of the room in its shard.
    pub room: u32,
    /// The index among the room's members.
    pub place: u32,
}

/// A channel that the client subscribed to.
#[derive(Debug)]
struct Held {
    name: Arc<str>,
    /// The position in the room, or `None` while the permission check is pending.
    seat: Option<Seat>,
}

/// The session of one native connection.
#[derive(Debug)]
pub struct Conversation {
    principal: Arc<Principal>,
    held: Vec<Held>,
    bucket: Bucket,
    /// Set while a new token is being verified; only one is verified at a time.
    verifying: bool,
    /// Set once the client was notified that its token expires soon.
    warned: bool,
}

impl Conversation {
    /// Creates the session of a client whose token was verified.
    pub fn new(principal: Arc<Principal>, limits: &Limits, now_s: u32) -> Self {
        Self {
            principal,
            held: Vec::new(),
            bucket: Bucket::new(limits, now_s),
            verifying: false,
            warned: false,
        }
    }

    /// Returns the verified principal of the client.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Counts a message of any kind against the rate limit. Returns `Some` if the message must not
    /// be handled.
    pub fn admit(&mut self, context: &Context, now_s: u32) -> Option<Effect> {
        match self.bucket.take(&context.limits, now_s) {
            Verdict::Take => None,
            Verdict::Drop { first: true } => {
                let message = format!(
                    "at most {} messages a second",
                    context.limits.messages_per_second
                );
                Some(error(ErrorCode::RateLimited, message, None))
            }
            Verdict::Drop { first: false } => Some(Effect::None),
            Verdict::End => Some(Effect::Close(CloseReason::TooMany)),
        }
    }

    /// Handles a text message and returns its effect.
    pub fn on_text(&mut self, text: &str, context: &Context) -> Effect {
        match native::decode(text) {
            Ok(ClientCommand::Subscribe { channel }) => self.subscribe(channel, context),
            Ok(ClientCommand::Unsubscribe { channel }) => self.unsubscribe(channel),
            Ok(ClientCommand::Ping) => Effect::Reply(ServerReply::Pong),
            Ok(ClientCommand::Auth { .. }) if self.verifying => error(
                ErrorCode::RateLimited,
                "another token is being verified".into(),
                None,
            ),
            Ok(ClientCommand::Auth { token }) => {
                self.verifying = true;
                Effect::Verify(token)
            }
            Err(reason) => error(ErrorCode::from(&reason), reason.to_string(), None),
        }
    }

    fn subscribe(&mut self, name: String, context: &Context) -> Effect {
        if let Some(subscription) = self
            .held
            .iter()
            .find(|subscription| *subscription.name == *name)
        {
            return subscription.seat.map_or(Effect::None, |position| {
                Effect::Again(Arc::clone(&subscription.name), position)
            });
        }
        let channel = match context.catalog.resolve(&name) {
            Ok(channel) => channel,
            Err(reason) => return error(code_of(&reason), reason.to_string(), Some(name)),
        };
        if self.held.len() >= context.limits.channels {
            let message = format!(
                "at most {} channels on one connection",
                context.limits.channels
            );
            return error(ErrorCode::TooManyChannels, message, Some(name));
        }
        let effect = match context
            .policy
            .decide(&self.principal, &context.catalog, &channel)
        {
            Decision::Forbidden => return forbidden(name),
            Decision::Allowed => Effect::Join(channel.clone()),
            Decision::NeedsLookup => Effect::Ask(channel.clone()),
        };
        // Grown by one element at a time: most clients have one channel, and no client has so many
        // that copying them matters.
        self.held.reserve_exact(1);
        self.held.push(Held {
            name: channel.name,
            seat: None,
        });
        effect
    }

    fn unsubscribe(&mut self, name: String) -> Effect {
        let Some(index) = self
            .held
            .iter()
            .position(|subscription| *subscription.name == *name)
        else {
            return error(
                ErrorCode::UnknownChannel,
                "not subscribed to this channel".into(),
                Some(name),
            );
        };
        let subscription = self.held.swap_remove(index);
        match subscription.seat {
            Some(position) => Effect::Leave(subscription.name, position),
            None => Effect::Reply(ServerReply::Unsubscribed(subscription.name)),
        }
    }

    /// Handles the result of [`SessionEffect::CheckPermission`]. `None` means that the database was
    /// unavailable; an active subscription is then kept.
    pub fn answered(&mut self, channel: Channel, allowed: Option<bool>) -> Vec<Effect> {
        let Some(index) = self
            .held
            .iter()
            .position(|subscription| subscription.name == channel.name)
        else {
            return Vec::new();
        };
        match (allowed, self.held[index].seat) {
            (Some(true), None) => vec![Effect::Join(channel)],
            (Some(true) | None, Some(_)) => Vec::new(),
            (Some(false), _) => self.give_up(index),
            (None, None) => {
                self.held.swap_remove(index);
                let message = "the database can't be asked now; subscribe again later".into();
                vec![error(
                    ErrorCode::Unavailable,
                    message,
                    Some(channel.name.to_string()),
                )]
            }
        }
    }

    /// Cancels a subscription that the client is not allowed to have, or no longer.
    fn give_up(&mut self, index: usize) -> Vec<Effect> {
        let subscription = self.held.swap_remove(index);
        let leave = subscription
            .seat
            .map(|position| Effect::Leave(Arc::clone(&subscription.name), position));
        std::iter::once(forbidden(subscription.name.to_string()))
            .chain(leave)
            .collect()
    }

    /// Stores the position of a new subscription. The name becomes the shard's own copy, which all
    /// its subscribers share.
    pub fn joined(&mut self, name: &Arc<str>, position: Seat) {
        if let Some(subscription) = self
            .held
            .iter_mut()
            .find(|subscription| subscription.name == *name)
        {
            *subscription = Held {
                name: Arc::clone(name),
                seat: Some(position),
            };
        }
    }

    /// Updates a subscription that moved within its room.
    pub fn moved(&mut self, position: Seat) {
        let positions = self
            .held
            .iter_mut()
            .filter_map(|subscription| subscription.seat.as_mut());
        for current in positions.filter(|current| current.room == position.room) {
            current.place = position.place;
        }
    }

    /// Returns the positions of all active subscriptions.
    pub fn seats(&self) -> impl Iterator<Item = Seat> {
        self.held
            .iter()
            .filter_map(|subscription| subscription.seat)
    }

    /// Returns the names of all channels that are subscribed or waiting for a permission check.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.held.iter().map(|subscription| &subscription.name)
    }

    /// Forgets all subscriptions, because the connection ends. The shard has removed them from its
    /// rooms.
    pub fn leave_all(&mut self) {
        self.held = Vec::new();
    }

    /// Handles the result of [`SessionEffect::VerifyToken`]. Channels that the new token does not
    /// grant directly are checked again or cancelled.
    pub fn authenticated(
        &mut self,
        result: Result<Principal, Unverified>,
        context: &Context,
    ) -> Vec<Effect> {
        self.verifying = false;
        let principal = match result {
            Ok(principal) if principal.user() == self.principal.user() => principal,
            Ok(_) => {
                return vec![error(
                    ErrorCode::Unauthorized,
                    "the token is another user's".into(),
                    None,
                )];
            }
            Err(Unverified::Refused(reason)) => {
                return vec![error(ErrorCode::Unauthorized, reason, None)];
            }
            // The error `unauthorized` would make the client reconnect, which a server that is too
            // busy should avoid.
            Err(Unverified::Later(reason)) => {
                return vec![error(ErrorCode::Unavailable, reason, None)];
            }
        };
        let expires_at = principal.expires_at_s();
        let mut effects = self.succeeded_by(Arc::new(principal), context);
        effects.insert(0, Effect::Reply(ServerReply::Authenticated { expires_at }));
        effects
    }

    /// Replaces the principal after a token renewal for the same user. The client did not request
    /// it, so it gets no reply.
    pub fn succeeded_by(&mut self, principal: Arc<Principal>, context: &Context) -> Vec<Effect> {
        self.principal = principal;
        self.warned = false;
        let mut effects = Vec::new();
        for index in (0..self.held.len()).rev() {
            let Ok(channel) = context.catalog.resolve(&self.held[index].name) else {
                continue;
            };
            match context
                .policy
                .decide(&self.principal, &context.catalog, &channel)
            {
                Decision::Allowed => {}
                Decision::NeedsLookup => effects.push(Effect::Ask(channel)),
                Decision::Forbidden => effects.append(&mut self.give_up(index)),
            }
        }
        effects
    }

    /// Handles the time `unix_s`: warns about a token that expires soon, or closes the connection
    /// when it has expired or was revoked.
    pub fn on_time(&mut self, unix_s: i64, limits: &Limits) -> Effect {
        let at = self.principal.expires_at_s();
        if self.principal.is_revoked() {
            return Effect::Close(CloseReason::Revoked);
        }
        if unix_s >= self.principal.ends_at_s() {
            return Effect::Close(CloseReason::Expired);
        }
        if !self.warned && unix_s >= at - i64::from(limits.expiry_notice_s) {
            self.warned = true;
            return Effect::Reply(ServerReply::TokenExpiring { at });
        }
        Effect::None
    }

    /// Returns the Unix second at which [`Session::on_timer`] is due next.
    pub fn next_time(&self, limits: &Limits) -> i64 {
        let at = self.principal.expires_at_s();
        if self.warned {
            self.principal.ends_at_s()
        } else {
            at - i64::from(limits.expiry_notice_s)
        }
    }
}

fn error(code: ErrorCode, message: String, channel: Option<String>) -> Effect {
    Effect::Reply(ServerReply::Error {
        code,
        message,
        channel,
    })
}

fn forbidden(name: String) -> Effect {
    error(
        ErrorCode::Forbidden,
        "this token may not read this channel".into(),
        Some(name),
    )
}

fn code_of(reason: &ChannelError) -> ErrorCode {
    match reason {
        ChannelError::Unknown { .. } => ErrorCode::UnknownChannel,
        ChannelError::InvalidKey(_) => ErrorCode::InvalidKey,
        ChannelError::NotReady => ErrorCode::Unavailable,
    }
}
