//! The runtime of a session: a shard's thread, or the task of a polling session.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use latido_event_bus::{
    BusEvent, ConnectionId, ConnectionSlot, DisconnectReason, EncodingId, EventBus, EventQueue,
    Identity, JoinError, JoinRequest, Mailbox, MovedConnection,
};

/// The output of a socket's future.
pub(crate) struct SocketOutput {
    /// The number of the socket in its session.
    pub(crate) socket: u32,
    /// Whether the socket's events wait for it.
    pub(crate) is_awaited: bool,
    pub(crate) output: Box<dyn Any + Send>,
}

/// The runtime of a session.
pub(crate) trait Host {
    /// Connects a socket to an event bus.
    fn connect(
        &mut self,
        bus: &Arc<EventBus>,
        encoding: EncodingId,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<BusLink, JoinError>;

    /// Runs a future, whose output comes back to the session. Returns `false` if too many are
    /// pending.
    fn spawn(&mut self, future: BoxFuture<'static, SocketOutput>) -> bool;

    /// Changes the largest message that the client may send.
    fn limit_message_bytes(&mut self, bytes: usize);
}

/// The connection of a socket to its app's event bus. Dropping it leaves all topics.
pub(crate) enum BusLink {
    /// The connection of a WebSocket, whose shard gets the events.
    Shard(ShardLink),
    /// The connection of a polling session, whose task gets the events.
    Mailbox(Arc<EventBus>, Mailbox),
}

/// A connection on a shard.
pub(crate) struct ShardLink {
    pub(crate) bus: Arc<EventBus>,
    pub(crate) id: ConnectionId,
}

impl Drop for ShardLink {
    fn drop(&mut self) {
        self.bus.disconnect(self.id);
    }
}

impl BusLink {
    pub(crate) fn id(&self) -> ConnectionId {
        match self {
            Self::Shard(link) => link.id,
            Self::Mailbox(_, mailbox) => mailbox.id(),
        }
    }

    /// Returns whether the event bus still has the connection.
    pub(crate) fn is_connected(&self) -> bool {
        let (Self::Shard(ShardLink { bus, .. }) | Self::Mailbox(bus, _)) = self;
        bus.is_connected(self.id())
    }

    /// Polls for the next event of a mailbox.
    pub(crate) fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Arc<BusEvent>, DisconnectReason>> {
        match self {
            Self::Shard(_) => Poll::Pending,
            Self::Mailbox(_, mailbox) => mailbox.poll_recv(context),
        }
    }

    /// Moves the connection to a shard. Also returns what its mailbox still had.
    pub(crate) fn move_to_shard(
        self,
        queue: &EventQueue,
        encoding: EncodingId,
        slot: ConnectionSlot,
    ) -> (Self, Vec<Arc<BusEvent>>, Option<DisconnectReason>) {
        match self {
            Self::Shard(_) => (self, Vec::new(), None),
            Self::Mailbox(bus, mailbox) => {
                let MovedConnection {
                    id,
                    events,
                    end_reason,
                } = mailbox.move_to_shard(queue, encoding, slot);
                (Self::Shard(ShardLink { bus, id }), events, end_reason)
            }
        }
    }
}
