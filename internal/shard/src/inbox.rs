//! The inbox of a shard: the commands from other threads.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::entrance::Porch;
use crate::roster::Wish;
use crate::{Answer, Arrival, Caller, Porter};
use latido_base::ident::Channel;

/// A command to a shard's thread.
pub(super) enum Command {
    /// Adds a client whose handshake is complete.
    Adopt(Box<Arrival>),
    /// Adds an accepted connection that has not sent its request yet.
    Knock(Box<(Caller, Arc<dyn Porter>)>),
    /// Registers the shard at a listener, until it passes the turn to another shard.
    Stand(Arc<Porch>),
    /// Delivers the response to an [asynchronous request](crate::async_requests) of the
    /// shard.
    Answer {
        slot: u32,
        generation: u32,
        answer: Answer,
    },
    /// Closes every client, spread over this number of milliseconds.
    Leave { spread_ms: u64 },
    /// Handles a request from an administrator.
    Operator(Box<Wish>),
    /// Ends the thread now.
    Stop,
}

impl Command {
    pub(super) fn asked(
        slot: u32,
        generation: u32,
        channel: Channel,
        allowed: Option<bool>,
    ) -> Self {
        Self::Answer {
            slot,
            generation,
            answer: Answer::Allowed(channel, allowed),
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
    commands: Mutex<Option<Vec<Command>>>,
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
    pub(super) fn put(&self, command: Command) -> Option<Command> {
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

    pub(super) fn take(&self) -> Vec<Command> {
        let mut inbox = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Closes the inbox when the shard ends. Returns the commands that were not handled.
    pub(super) fn close(&self) -> Vec<Command> {
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
