//! The effects of a session, and the results that come back.

use std::sync::Arc;

use crate::CloseReason;
use latido_base::ident::Channel;
use latido_protocol::ServerReply;

/// An action that the shard must take.
#[derive(Debug)]
pub enum SessionEffect {
    /// Take no action.
    None,
    /// Send this reply.
    Reply(ServerReply),
    /// Subscribe, reply, and send the newest frame; then call
    /// [`Session::on_subscribed`](crate::Session::on_subscribed), or
    /// [`Session::on_limit_reached`](crate::Session::on_limit_reached).
    Subscribe(Channel),
    /// Reply and send the current frame again, because the subscription is active already.
    Resend(Arc<str>, RoomPosition),
    /// Cancel the subscription and reply.
    Unsubscribe(Arc<str>, RoomPosition),
    /// Cancel the subscription without a reply, because another effect follows.
    Leave(RoomPosition),
    /// Check in the database whether this user may read the channel. The result comes back through
    /// [`Session::on_permission`](crate::Session::on_permission).
    CheckPermission(Channel),
    /// Call [`Session::retry_subscriptions`](crate::Session::retry_subscriptions) in a moment, because
    /// a permission could not be looked up.
    RetryLater,
    /// Verify a new token. The result comes back through
    /// [`Session::on_reauth`](crate::Session::on_reauth).
    VerifyToken(String),
    /// Close the connection for this reason.
    Close(CloseReason),
}

/// The answer to [`SessionEffect::CheckPermission`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermissionAnswer {
    /// The user may read the channel.
    Allowed,
    /// The user may not read the channel.
    Forbidden,
    /// The database was unavailable, so the permission is unknown.
    Unknown,
    /// The database refuses the stream's query for permissions, so the permission is unknown until
    /// the query works.
    Broken,
}

/// The reason for which a new token does not replace the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReauthError {
    /// The token is invalid; the text names the mistake.
    Invalid(String),
    /// The token could not be checked now; it may be valid.
    Unavailable(String),
}

/// The position of a subscription in its shard. The shard assigns it, and the session only stores
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomPosition {
    /// The index of the room in its shard.
    pub room: u32,
    /// The index among the room's members.
    pub member: u32,
}
