//! The closed list of reasons for which a connection ends.

use latido_protocol::websocket::ProtocolError;

/// The reason for which a WebSocket ended. It determines the close code, the close text, and
/// thereby the client's choice to reconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed the connection, or its socket was gone.
    Client,
    /// The server stops. The client reconnects after a jittered delay. The code is never 1000,
    /// which some clients take as final.
    Restarting,
    /// A message exceeded the size limit. The client must not repeat it.
    TooBig,
    /// The client violated RFC 6455.
    Protocol,
    /// A text message was not valid UTF-8.
    NotText,
    /// A binary message arrived, but the protocol of the connection is text only.
    Binary,
    /// The token expired. The client reconnects with a new one.
    Expired,
    /// The token was revoked by its issuer.
    Revoked,
    /// Nothing was received for too long. The client may reconnect.
    Silent,
    /// The client read its frames too slowly. It may reconnect.
    TooSlow,
    /// The client sent too many messages. It may reconnect later.
    TooManyMessages,
    /// The server has no capacity. The client may retry later.
    Overloaded,
    /// An administrator closed the connection. The client must not reconnect.
    AdminClosed,
    /// An administrator closed the connection. The client reconnects after a jittered delay.
    AdminReconnect,
    /// The app that handled the connection closed it, with its own code and text.
    App,
}

impl CloseReason {
    /// All reasons that can end a client of the native protocol.
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
        Self::TooManyMessages,
        Self::Overloaded,
        Self::AdminClosed,
        Self::AdminReconnect,
    ];

    /// Returns the code of the close frame (RFC 6455 section 7.4; codes 4000–4999 are private to
    /// this server).
    pub fn code(self) -> u16 {
        match self {
            Self::Client => 1000,
            Self::Protocol => 1002,
            Self::Binary => 1003,
            Self::NotText => 1007,
            Self::TooBig => 1009,
            Self::Restarting | Self::AdminReconnect => 1012,
            Self::Overloaded => 1013,
            Self::App => 4000,
            Self::Expired | Self::Revoked => 4401,
            Self::AdminClosed => 4403,
            Self::Silent => 4408,
            Self::TooSlow => 4413,
            Self::TooManyMessages => 4429,
        }
    }

    /// Returns the human-readable text of the close frame.
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
            Self::TooManyMessages => "too many messages",
            Self::AdminClosed => "closed by an operator",
            Self::AdminReconnect => "closed by an operator; come back",
        }
    }

    /// Returns the value of the metric's label, which the log uses too.
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
            Self::TooManyMessages => "too_many_messages",
            Self::AdminClosed => "dismissed",
            Self::AdminReconnect => "recalled",
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
