//! The commands to a shard from other threads.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::admin_request::AdminRequest;
use crate::async_response::AsyncResponse;
use crate::inbox::Inbox;
use crate::listener_context::ListenerContext;
use crate::shared_listener::SharedListener;
use crate::upgraded_connection::UpgradedConnection;
use latido_admission::PendingConnection;
use latido_auth::PermissionSubject;
use latido_base::ident::Channel;
use latido_session::{PermissionAnswer, SessionLimits};

/// The inbox of a shard.
pub(super) type ShardInbox = Inbox<ShardCommand>;

/// A command to a shard's thread.
pub(super) enum ShardCommand {
    /// Adds a client whose handshake is complete.
    AddUpgraded(Box<UpgradedConnection>),
    /// Adds an accepted connection that has not sent its request yet.
    AddPending(Box<(PendingConnection, Arc<ListenerContext>)>),
    /// Registers the shard at a listener, until it passes the turn to another shard.
    RegisterListener(Arc<SharedListener<Self>>),
    /// Delivers the response to an [asynchronous request](crate::async_requests) of the
    /// shard.
    AsyncResponse {
        slot: u32,
        generation: u32,
        response: AsyncResponse,
    },
    /// Closes every client, spread over this number of milliseconds.
    Shutdown { spread_ms: u64 },
    /// Applies other limits to the clients, and says when that is done.
    SetLimits {
        limits: SessionLimits,
        done: oneshot::Sender<()>,
    },
    /// Handles a request from an administrator.
    Admin(Box<AdminRequest>),
    /// Ends the thread now.
    Stop,
}

impl ShardCommand {
    pub(super) fn permission_response(
        slot: u32,
        generation: u32,
        subject: PermissionSubject,
        channel: Channel,
        answer: PermissionAnswer,
    ) -> Self {
        Self::AsyncResponse {
            slot,
            generation,
            response: AsyncResponse::Permission(subject, channel, answer),
        }
    }
}

impl From<Arc<SharedListener<Self>>> for ShardCommand {
    fn from(listener: Arc<SharedListener<Self>>) -> Self {
        Self::RegisterListener(listener)
    }
}
