//! Every message there is, in no particular encoding.

use std::sync::Arc;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send me this channel.
    Subscribe {
        /// Name as written.
        channel: String,
    },
    /// No more of it.
    Unsubscribe {
        /// Name as written.
        channel: String,
    },
    /// Are you there?
    Ping,
    /// A new token for this connection.
    Auth {
        /// The token; never logged.
        token: String,
    },
}

/// What the server answers to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The subscription stands.
    Subscribed(Arc<str>),
    /// The subscription is gone.
    Unsubscribed(Arc<str>),
    /// Here I am.
    Pong,
    /// The new token is accepted and lasts until then (Unix seconds).
    Authenticated {
        /// Unix seconds.
        expires_at: i64,
    },
    /// The token ends at that time (Unix seconds); send a new one before.
    TokenExpiring {
        /// Unix seconds.
        at: i64,
    },
    /// A request failed; the connection goes on.
    Error {
        /// From the closed list.
        code: ErrorCode,
        /// A sentence that says what was expected.
        message: String,
        /// The channel it concerns, as written.
        channel: Option<String>,
    },
}

/// The closed list of error codes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// This token may not read that channel.
    Forbidden,
    /// No such channel.
    UnknownChannel,
    /// The key is not of the stream's type.
    InvalidKey,
    /// Not JSON, not an object, or a field is missing or of the wrong type.
    BadMessage,
    /// A type of message that does not exist.
    UnknownType,
    /// More channels than one connection may have.
    TooManyChannels,
    /// More messages than one connection may send; this one was dropped.
    RateLimited,
    /// The new token is invalid, or another user's.
    Unauthorized,
    /// The server can't answer now; ask again later.
    Unavailable,
}

impl ErrorCode {
    /// The whole list.
    pub const ALL: [Self; 9] = [
        Self::Forbidden,
        Self::UnknownChannel,
        Self::InvalidKey,
        Self::BadMessage,
        Self::UnknownType,
        Self::TooManyChannels,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Unavailable,
    ];

    /// The code on the wire, and the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::UnknownChannel => "unknown_channel",
            Self::InvalidKey => "invalid_key",
            Self::BadMessage => "bad_message",
            Self::UnknownType => "unknown_type",
            Self::TooManyChannels => "too_many_channels",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether the numbers on screen may be old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// The database answers.
    Fresh,
    /// It has not answered since then (Unix seconds).
    StaleSince(i64),
}
