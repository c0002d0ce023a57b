//! All messages of the native protocol, independent of their encoding.

use std::sync::Arc;

/// A command that a client may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientCommand {
    /// Subscribes to a channel.
    Subscribe {
        /// The channel's name as the client wrote it.
        channel: String,
        /// True to get the channel's history before its next snapshot.
        wants_history: bool,
    },
    /// Ends the subscription to a channel.
    Unsubscribe {
        /// The channel's name as the client wrote it.
        channel: String,
    },
    /// Requests a [`ServerReply::Pong`] to test the connection.
    Ping,
    /// Sends a new token for this connection.
    Auth {
        /// The token, which must never be logged.
        token: String,
    },
}

/// A message from the server to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerReply {
    /// The subscription to this channel is active.
    Subscribed(Arc<str>),
    /// The subscription to this channel has ended.
    Unsubscribed(Arc<str>),
    /// The answer to [`ClientCommand::Ping`], without any data.
    Pong,
    /// The server accepted the new token.
    Authenticated {
        /// The expiry of the token, in Unix seconds.
        expires_at: i64,
    },
    /// The token is about to expire; the client should send a new one before.
    TokenExpiring {
        /// The expiry of the token, in Unix seconds.
        at: i64,
    },
    /// A request failed; the connection stays open.
    Error {
        /// The code, from the closed list.
        code: ErrorCode,
        /// A sentence for people that states the expected input.
        message: String,
        /// The affected channel as the client wrote it.
        channel: Option<String>,
    },
}

/// The closed list of error codes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// The token does not permit reading the channel.
    Forbidden,
    /// No channel has this name.
    UnknownChannel,
    /// The key does not match the stream's key type.
    InvalidKey,
    /// The message is not a JSON object, or a field is missing or has the wrong type.
    BadMessage,
    /// The message's `type` does not exist.
    UnknownType,
    /// The connection has reached its limit of channels.
    TooManyChannels,
    /// The connection has exceeded its message rate, and the server dropped this message.
    RateLimited,
    /// The new token is invalid, or belongs to another user.
    Unauthorized,
    /// The server cannot answer now; the client may retry later.
    Unavailable,
    /// The stream of the channel has no history. The subscription is active all the same.
    NoHistory,
    /// The history of the channel cannot be read now. The subscription is active all the same.
    HistoryUnavailable,
}

impl ErrorCode {
    /// All codes of the list, for metrics and documentation.
    pub const ALL: [Self; 11] = [
        Self::Forbidden,
        Self::UnknownChannel,
        Self::InvalidKey,
        Self::BadMessage,
        Self::UnknownType,
        Self::TooManyChannels,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Unavailable,
        Self::NoHistory,
        Self::HistoryUnavailable,
    ];

    /// Returns the code on the wire, which is also the metric's label.
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
            Self::NoHistory => "no_history",
            Self::HistoryUnavailable => "history_unavailable",
        }
    }
}

/// The staleness of the published data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// The database answers, so the data is current.
    Fresh,
    /// The database has not answered since this time (Unix seconds).
    StaleSince(i64),
}
