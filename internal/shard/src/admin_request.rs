//! The requests of administrators to a shard, and their results.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use tokio::sync::oneshot;

use latido_base::ident::UserId;
use latido_session::CloseReason;

/// The admin requests that may be in progress at a time, over all administrators.
pub(super) const MAX_ADMIN_REQUESTS: usize = 8;

/// The identity of a connection; it is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    pub(super) shard: u32,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// The error for a text that is not a valid [`ClientId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a client's id such as 0-17-3")]
pub struct InvalidClientId;

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.generation)
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        let mut numbers = text
            .split('-')
            .map(|part| part.parse().map_err(|_| InvalidClientId));
        let mut next = || numbers.next().unwrap_or(Err(InvalidClientId));
        let id = Self {
            shard: next()?,
            slot: next()?,
            generation: next()?,
        };
        if numbers.next().is_some() {
            Err(InvalidClientId)
        } else {
            Ok(id)
        }
    }
}

/// The administrator's view of one connection. Times are Unix seconds by the server's clock,
/// accurate to a second.
#[derive(Debug, Clone)]
pub struct ClientSummary {
    /// The identity, by which the connection can be closed.
    pub id: ClientId,
    /// The user, or `None` if the connection is not authenticated.
    pub user: Option<UserId>,
    /// The protocol: `native`, or the name of the app.
    pub dialect: &'static str,
    /// The role in the token.
    pub role: Option<Box<str>>,
    /// The address of the TCP peer (the last proxy, if there is one), or `None` if the connection
    /// has just ended.
    pub address: Option<SocketAddr>,
    /// The time at which the connection was established.
    pub connected_at_s: i64,
    /// The time of the last byte from the client.
    pub last_received_s: i64,
    /// The time since which its socket has been full.
    pub full_since_s: Option<i64>,
    /// The expiry of its token, if it has one.
    pub expires_at_s: Option<i64>,
    /// The first few of its channels.
    pub channels: Vec<Arc<str>>,
    /// The total number of its channels.
    pub channel_count: usize,
}

/// The clients that match an admin's filter.
#[derive(Debug, Clone, Default)]
pub struct ClientList {
    /// The matching clients, at most the requested number.
    pub clients: Vec<ClientSummary>,
    /// Set if there may be further matches.
    pub has_more: bool,
}

/// The result of running the timers of every client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepResult {
    /// The number of clients examined.
    pub examined: usize,
    /// The number of clients closed by it.
    pub closed: usize,
}

/// A part of a result, with the slot from which to continue, or `None` at the end.
pub(super) type ResultPage<T> = (T, Option<u32>);

/// A request from an administrator. Its sender may be gone when the response is ready.
pub(super) enum AdminRequest {
    List {
        matching: Arc<str>,
        from: u32,
        limit: usize,
        response: oneshot::Sender<ResultPage<Vec<ClientSummary>>>,
    },
    Close {
        slot: u32,
        generation: u32,
        reason: CloseReason,
        response: oneshot::Sender<Option<UserId>>,
    },
    Sweep {
        from: u32,
        response: oneshot::Sender<ResultPage<SweepResult>>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_ids_round_trip_as_text() {
        let id = ClientId {
            shard: 0,
            slot: 17,
            generation: 3,
        };
        assert_eq!(
            (id.to_string().as_str(), "0-17-3".parse()),
            ("0-17-3", Ok(id))
        );
        for text in ["", "0-17", "0-17-3-4", "a-1-1", "0--3", "0-17-4294967296"] {
            assert_eq!(text.parse::<ClientId>(), Err(InvalidClientId), "{text}");
        }
    }
}
