//! What other threads ask of a shard.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mio::Waker;

use crate::ident::Channel;
use crate::shard::entrance::Porch;
use crate::shard::roster::Wish;
use crate::shard::{Answer, Arrival, Caller, Porter};

/// A request to a shard's thread.
pub(super) enum Command {
    /// A new client.
    Adopt(Box<Arrival>),
    /// A new connection, which may become one.
    Knock(Box<(Caller, Arc<dyn Porter>)>),
    /// Let callers in there, until it is another shard's turn.
    Stand(Arc<Porch>),
    /// The answer to a question that the shard put to the [desk](crate::shard::desk).
    Answer {
        slot: u32,
        generation: u32,
        answer: Answer,
    },
    /// Ask every client to leave, spread over so many milliseconds.
    Leave { spread_ms: u64 },
    /// Something that an operator wants.
    Operator(Box<Wish>),
    /// End now.
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

/// Filled by any thread, emptied by the shard's. Bounded by what fills it: arrivals and callers hold a connection's permit, answers a
/// place at the desk, wishes a place among the operators'; entrances are few, and each in one place.
pub(super) struct Inbox {
    /// None: the shard has ended.
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

    /// Adds a command, and wakes the shard if there was none. Gives it back if the shard has ended.
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

    /// Wakes the shard by itself, for others who have something for it.
    pub(super) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    pub(super) fn take(&self) -> Vec<Command> {
        let mut inbox = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The shard ends: what it has not taken, and nothing will come any more.
    pub(super) fn close(&self) -> Vec<Command> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_default()
    }
}

/// Wakes a shard's poll. It fails only when the shard is gone, and then nobody is left to be woken.
pub(super) fn wake(waker: &Waker) {
    let _: io::Result<()> = waker.wake();
}
