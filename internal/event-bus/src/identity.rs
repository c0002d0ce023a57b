//! The id of a connection, and the identity of its user.

use latido_base::ident::UserId;

/// The id of a connection of an event bus. Ids are never reused, even when another connection takes
/// the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// The identity of a connection's user. An authenticator builds it; none of it is a client's own
/// claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user, or `None` until the connection is identified. Without a user it appears on no
    /// presence list.
    pub user: Option<UserId>,
}
