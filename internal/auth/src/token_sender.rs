//! The senders of tokens, and the limit on their invalid ones.

use std::net::{IpAddr, Ipv4Addr};

use latido_base::ident::UserId;
use latido_base::keyed_rate_limit::KeyedRateLimit;
use latido_net::client_network;

/// The invalid tokens without the name of a key that a sender may send per second, on average. Each
/// costs the time of several signatures.
const INVALID_TOKENS_PER_SECOND: u32 = 2;
/// The invalid tokens without the name of a key that a sender may send at once.
const INVALID_TOKEN_BURST: u32 = 20;

/// The sender of a token, as far as the server knows it. Invalid tokens that are costly to check are
/// counted by sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenSender {
    /// A client that is not authenticated yet, by its address (one /64 of IPv6).
    Address(IpAddr),
    /// A connected client that sends a further token, by the user of its connection.
    User(UserId),
}

impl TokenSender {
    /// Returns the sender at an address, as a trusted proxy names it. Clients without an address
    /// share one limit.
    pub fn at(address: Option<IpAddr>) -> Self {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self::Address(address.map_or(unknown, client_network))
    }
}

/// The limit on costly invalid tokens of each sender. All verifiers of a server share one.
#[derive(Debug)]
pub(crate) struct InvalidTokenLimit(KeyedRateLimit<TokenSender>);

impl Default for InvalidTokenLimit {
    fn default() -> Self {
        Self(KeyedRateLimit::new(
            INVALID_TOKENS_PER_SECOND,
            INVALID_TOKEN_BURST,
        ))
    }
}

impl InvalidTokenLimit {
    /// Returns whether a costly token of this sender may be checked.
    pub(crate) fn allows(&self, sender: &TokenSender) -> bool {
        self.0.has_token(sender)
    }

    /// Counts a costly token that was invalid.
    pub(crate) fn count(&self, sender: &TokenSender) {
        self.0.try_take(sender.clone());
    }
}
