//! The native dialect's side of a connection: what to do about each message, answer and deadline.

use std::sync::Arc;

use crate::auth::{Decision, Policy, Principal};
use crate::ident::Channel;
use crate::protocol::{Command, ErrorCode, Reply, native};
use crate::session::bucket::{Bucket, Verdict};
use crate::session::{CloseReason, Limits};
use crate::stream::{Catalog, ChannelError};

/// What every conversation of a server shares.
#[derive(Debug, Clone)]
pub struct Context {
    /// The streams.
    pub catalog: Arc<Catalog>,
    /// Who may read what.
    pub policy: Arc<Policy>,
    /// What one client may do.
    pub limits: Limits,
}

/// What the shard is to do.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Send this.
    Reply(Reply),
    /// Subscribe, answer, and send the newest frame; then tell [`Conversation::joined`].
    Join(Channel),
    /// The subscription stands already: answer, and send the current frame again.
    Again(Arc<str>, Seat),
    /// Unsubscribe and answer.
    Leave(Arc<str>, Seat),
    /// Ask the database whether this user may read the channel; the answer comes back through [`Conversation::answered`].
    Ask(Channel),
    /// Verify a new token; the result comes back through [`Conversation::authenticated`].
    Verify(String),
    /// End the connection.
    Close(CloseReason),
}

/// Why a new token does not take the old one's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// It opens nothing; what is wrong with it.
    Refused(String),
    /// Nobody can say now, and it may be good.
    Later(String),
}

/// Where the shard keeps a subscription; the conversation only remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The shard's room.
    pub room: u32,
    /// The place among the room's members.
    pub place: u32,
}

/// A channel that the client asked for.
#[derive(Debug)]
struct Held {
    name: Arc<str>,
    /// None: whether the client may have it is still being asked.
    seat: Option<Seat>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Conversation {
    principal: Arc<Principal>,
    held: Vec<Held>,
    bucket: Bucket,
    /// A new token is being verified: one at a time.
    verifying: bool,
    /// The client was told that its token ends.
    warned: bool,
}

impl Conversation {
    /// A conversation with somebody whose token was verified.
    pub fn new(principal: Arc<Principal>, limits: &Limits, now_s: u32) -> Self {
        Self {
            principal,
            held: Vec::new(),
            bucket: Bucket::new(limits, now_s),
            verifying: false,
            warned: false,
        }
    }

    /// Who is there.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// Counts a message of any kind against the rate; `Some`: it must not be looked at.
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

    /// A text message.
    pub fn on_text(&mut self, text: &str, context: &Context) -> Effect {
        match native::decode(text) {
            Ok(Command::Subscribe { channel }) => self.subscribe(channel, context),
            Ok(Command::Unsubscribe { channel }) => self.unsubscribe(channel),
            Ok(Command::Ping) => Effect::Reply(Reply::Pong),
            Ok(Command::Auth { .. }) if self.verifying => error(
                ErrorCode::RateLimited,
                "another token is being verified".into(),
                None,
            ),
            Ok(Command::Auth { token }) => {
                self.verifying = true;
                Effect::Verify(token)
            }
            Err(reason) => error(ErrorCode::from(&reason), reason.to_string(), None),
        }
    }

    fn subscribe(&mut self, name: String, context: &Context) -> Effect {
        if let Some(held) = self.held.iter().find(|held| *held.name == *name) {
            return held.seat.map_or(Effect::None, |seat| {
                Effect::Again(Arc::clone(&held.name), seat)
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
            Decision::Ask => Effect::Ask(channel.clone()),
        };
        // One at a time: most clients hold one channel, and none so many that moving them would cost.
        self.held.reserve_exact(1);
        self.held.push(Held {
            name: channel.name,
            seat: None,
        });
        effect
    }

    fn unsubscribe(&mut self, name: String) -> Effect {
        let Some(index) = self.held.iter().position(|held| *held.name == *name) else {
            return error(
                ErrorCode::UnknownChannel,
                "not subscribed to this channel".into(),
                Some(name),
            );
        };
        let held = self.held.swap_remove(index);
        match held.seat {
            Some(seat) => Effect::Leave(held.name, seat),
            None => Effect::Reply(Reply::Unsubscribed(held.name)),
        }
    }

    /// The database's answer to [`Effect::Ask`]. None: it could not be asked; a subscription that stands is then kept.
    pub fn answered(&mut self, channel: Channel, allowed: Option<bool>) -> Vec<Effect> {
        let Some(index) = self.held.iter().position(|held| held.name == channel.name) else {
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

    /// The client may not have this channel (any more).
    fn give_up(&mut self, index: usize) -> Vec<Effect> {
        let held = self.held.swap_remove(index);
        let leave = held
            .seat
            .map(|seat| Effect::Leave(Arc::clone(&held.name), seat));
        std::iter::once(forbidden(held.name.to_string()))
            .chain(leave)
            .collect()
    }

    /// The shard subscribed: remembers where. The name becomes the shard's own copy, shared by all who hold it.
    pub fn joined(&mut self, name: &Arc<str>, seat: Seat) {
        if let Some(held) = self.held.iter_mut().find(|held| held.name == *name) {
            *held = Held {
                name: Arc::clone(name),
                seat: Some(seat),
            };
        }
    }

    /// The subscription moved within its room.
    pub fn moved(&mut self, seat: Seat) {
        let seats = self.held.iter_mut().filter_map(|held| held.seat.as_mut());
        for held in seats.filter(|held| held.room == seat.room) {
            held.place = seat.place;
        }
    }

    /// Every subscription that stands.
    pub fn seats(&self) -> impl Iterator<Item = Seat> {
        self.held.iter().filter_map(|held| held.seat)
    }

    /// The names of every channel that the client holds or is being asked about.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.held.iter().map(|held| &held.name)
    }

    /// The connection ends: forgets every subscription, which the shard has given back.
    pub fn leave_all(&mut self) {
        self.held = Vec::new();
    }

    /// The result of [`Effect::Verify`]. Channels that the new token does not plainly grant are asked for again, or given up at once.
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
            // Whoever is told «unauthorized» connects anew, which is what a server that is too busy needs least.
            Err(Unverified::Later(reason)) => {
                return vec![error(ErrorCode::Unavailable, reason, None)];
            }
        };
        let expires_at = principal.expires_at_s();
        let mut effects = self.succeeded_by(Arc::new(principal), context);
        effects.insert(0, Effect::Reply(Reply::Authenticated { expires_at }));
        effects
    }

    /// Goes on with a new token of the same user, which nobody asked us for and so nobody is told of.
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
                Decision::Ask => effects.push(Effect::Ask(channel)),
                Decision::Forbidden => effects.append(&mut self.give_up(index)),
            }
        }
        effects
    }

    /// The clock shows `unix_s`: what the token's expiry asks for.
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
            return Effect::Reply(Reply::TokenExpiring { at });
        }
        Effect::None
    }

    /// When [`Conversation::on_time`] will next have something to say, Unix seconds.
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
    Effect::Reply(Reply::Error {
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
        ChannelError::Key(_) => ErrorCode::InvalidKey,
        ChannelError::NotReady => ErrorCode::Unavailable,
    }
}
