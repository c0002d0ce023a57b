//! The inbox of a shard: a queue that any thread fills.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

/// A queue that any thread fills and the shard's thread empties.
///
/// Its senders bound it: new connections hold a connection permit, responses hold a slot in a
/// request queue, a connection waits for one history at a time, and admin requests hold an admin
/// permit. Listeners are few, and each is in one inbox at a time.
pub(super) struct Inbox<C> {
    /// The pending commands, or `None` once the shard has ended.
    commands: Mutex<Option<Vec<C>>>,
    waker: Arc<Waker>,
}

impl<C> Inbox<C> {
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        Self {
            commands: Mutex::new(Some(Vec::new())),
            waker,
        }
    }

    /// Adds a command and wakes the shard if the inbox was empty. Returns the command if the shard
    /// has ended.
    pub(super) fn put(&self, command: C) -> Option<C> {
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

    pub(super) fn take(&self) -> Vec<C> {
        let mut inbox = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Closes the inbox when the shard ends. Returns the commands that were not handled.
    pub(super) fn close(&self) -> Vec<C> {
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
