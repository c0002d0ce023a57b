//! The closed list of reasons for which a connection ends.

use crate::websocket::ProtocolError;

/// Why a WebSocket ended. Each has a close code, a text, and an answer to «may I come back?».
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed, or its socket was gone.
    Client,
    /// The server stops. Come back after a jittered delay. Never 1000, which some clients take for good.
    Restarting,
    /// A message over the limit. Don't repeat it.
    TooBig,
    /// The client broke RFC 6455.
    Protocol,
    /// Text that is not UTF-8.
    NotText,
    /// A binary message, where the dialect knows only text.
    Binary,
    /// The token expired. Come back with a new one.
    Expired,
    /// The issuer revoked its token.
    Revoked,
    /// Nothing was heard for too long. Come back.
    Silent,
    /// The client took its frames too slowly. Come back.
    TooSlow,
    /// Too many messages. Come back later.
    TooMany,
    /// The server has no room. Come back later.
    Overloaded,
    /// An operator ended it. Don't come back.
    Dismissed,
    /// An operator ended it. Come back after a jittered delay.
    Recalled,
    /// The app whose guest it was ended it, with a code and a text of its own.
    App,
}

impl CloseReason {
    /// The whole list of what ends a client of the native dialect.
    pub const ALL: [Self; 14] = [
        Self::Client,
        Self::Restarting,
        Self::TooBig,
        Self::Protocol,
        Self::NotText,
        Self::Binary,
        Self::Expired,
        Self::Revoked,
        Self::Silent,
        Self::TooSlow,
        Self::TooMany,
        Self::Overloaded,
        Self::Dismissed,
        Self::Recalled,
    ];

    /// The code in the close frame (RFC 6455 §7.4; 4000–4999 are ours).
    pub fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::NotText => 1007,
            Self::TooBig => 1009,
            Self::Restarting | Self::Recalled => 1012,
            Self::Overloaded => 1013,
            Self::App => 4000,
            Self::Expired | Self::Revoked => 4401,
            Self::Dismissed => 4403,
            Self::Silent => 4408,
            Self::TooSlow => 4413,
            Self::TooMany => 4429,
        }
    }

    /// The text in the close frame, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Client | Self::App => "",
            Self::Protocol => "protocol error",
            Self::Binary => "text frames only",
            Self::NotText => "invalid UTF-8",
            Self::TooBig => "message too big",
            Self::Restarting => "server restarting; come back",
            Self::Overloaded => "overloaded; come back later",
            Self::Expired => "token expired; come back with a new one",
            Self::Revoked => "token revoked; come back with a new one",
            Self::Silent => "no heartbeat",
            Self::TooSlow => "too slow",
            Self::TooMany => "too many messages",
            Self::Dismissed => "closed by an operator",
            Self::Recalled => "closed by an operator; come back",
        }
    }

    /// The metric's label and the log's word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Protocol => "protocol",
            Self::Binary => "binary",
            Self::NotText => "not_text",
            Self::TooBig => "too_big",
            Self::Restarting => "restarting",
            Self::Overloaded => "overloaded",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Silent => "silent",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many_messages",
            Self::Dismissed => "dismissed",
            Self::Recalled => "recalled",
            Self::App => "app",
        }
    }
}

impl From<ProtocolError> for CloseReason {
    fn from(error: ProtocolError) -> Self {
        match error {
            ProtocolError::Violation(_) => Self::Protocol,
            ProtocolError::InvalidUtf8 => Self::NotText,
            ProtocolError::TooBig => Self::TooBig,
        }
    }
}
