//! The inbox of a shard: the commands from other threads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::admin::AdminRequest;
use crate::listener::SharedListener;
use crate::{AsyncResponse, ConnectionHandler, PendingConnection, UpgradedConnection};
use latido_base::ident::Channel;

/// A command to a shard's thread.
pub(super) enum ShardCommand {
    /// Adds a client whose handshake is complete.
    AddUpgraded(Box<UpgradedConnection>),
    /// Adds an accepted connection that has not sent its request yet.
    AddPending(Box<(PendingConnection, Arc<dyn ConnectionHandler>)>),
    /// Registers the shard at a listener, until it passes the turn to another shard.
    RegisterListener(Arc<SharedListener>),
    /// Delivers the response to an [asynchronous request](crate::async_requests) of the
    /// shard.
    AsyncResponse {
        slot: u32,
        generation: u32,
        response: AsyncResponse,
    },
    /// Closes every client, spread over this number of milliseconds.
    Shutdown { spread_ms: u64 },
    /// Handles a request from an administrator.
    Admin(Box<AdminRequest>),
    /// Ends the thread now.
    Stop,
}

impl ShardCommand {
    pub(super) fn permission_response(
        slot: u32,
        generation: u32,
        channel: Channel,
        answer: latido_session::PermissionAnswer,
    ) -> Self {
        Self::AsyncResponse {
            slot,
            generation,
            response: AsyncResponse::Permission(channel, answer),
        }
    }
}

/// A queue that any thread fills and the shard's thread empties.
///
/// Its senders bound it: new connections hold a connection permit, responses hold a slot in a
/// request queue, and admin requests hold an admin permit. Listeners are few, and each is in one
/// inbox at a time.
pub(super) struct Inbox {
    /// The pending commands, or `None` once the shard has ended.
    commands: Mutex<Option<Vec<ShardCommand>>>,
    waker: Arc<Waker>,
}

impl Inbox {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self {
            commands: Mutex::new(Some(Vec::new())),
            waker,
        }
    }

    /// Adds a command and wakes the shard if the inbox was empty. Returns the command if the shard
    /// has ended.
    pub(super) fn put(&self, command: ShardCommand) -> Option<ShardCommand> {
        let mut inbox = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(commands) = &mut *inbox else {
            return Some(command);
        };
        let was_empty = commands.is_empty();
        commands.push(command);
        drop(inbox);
        if was_empty {
            wake(&self.waker);
        }
        None
    }

    /// Returns the waker, for other sources of work such as event queues.
    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    pub(super) fn take(&self) -> Vec<ShardCommand> {
        let mut inbox = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Closes the inbox when the shard ends. Returns the commands that were not handled.
    pub(super) fn close(&self) -> Vec<ShardCommand> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_default()
    }
}

/// Wakes a shard's poll. It fails only if the shard has ended, and then there is nothing to wake.
pub(super) fn wake(waker: &Waker) {
    let _: io::Result<()> = waker.wake();
}
