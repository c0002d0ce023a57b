//! The state of the sleeping connections to a database. Pure: time is an argument.
//!
//! Three rules hold in every order of events, and a model test tries all orders:
//!
//! - The connections sleep only while nothing is watched.
//! - A connection that is closed for sleep is announced before, and counts as closed until it is
//!   announced to be open again.
//! - After a wake-up no numbers are read until every connection that was closed is open again, or
//!   until opening one failed. Histories need not wait: numbers that are read later follow them.

use std::time::{Duration, Instant};

/// The longest time that reads wait for the connections after a wake-up. Usually an attempt to open
/// one fails earlier, which ends the wait.
const WAKE_LIMIT: Duration = Duration::from_secs(10);

/// A connection that is closed for sleep, and that must be open before a first read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SleepingConnection {
    /// The connection that receives notifications.
    Listener,
    /// The connection that holds the watch locks.
    WatchLocks,
}

/// The phase of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SleepPhase {
    /// The connections may be open, and reads may start.
    Awake,
    /// The connections are closed, or will be at once. Nothing asks the database.
    Asleep,
    /// The connections are being opened. Reads wait for them.
    Waking,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SleepState {
    pub(super) phase: SleepPhase,
    /// The number of topics with viewers.
    watched: usize,
    /// The time of the last use of the database for somebody else.
    last_use: Instant,
    /// The time at which reads stop waiting, while the phase is waking.
    read_at: Instant,
    is_listener_closed: bool,
    are_locks_closed: bool,
}

impl SleepState {
    /// Creates the state of connections that were used at `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: SleepPhase::Awake,
            watched: 0,
            last_use: now,
            read_at: now,
            is_listener_closed: false,
            are_locks_closed: false,
        }
    }

    /// Records a use of the database, which wakes the connections. Returns whether the phase changed.
    pub(super) fn touch(&mut self, now: Instant) -> bool {
        self.last_use = now;
        if self.phase != SleepPhase::Asleep {
            return false;
        }
        self.phase = SleepPhase::Waking;
        self.read_at = now + WAKE_LIMIT;
        self.end_waking();
        true
    }

    /// Adds a watched topic, which wakes the connections. Returns whether the phase changed.
    pub(super) fn watch(&mut self, now: Instant) -> bool {
        self.watched += 1;
        self.touch(now)
    }

    /// Removes a watched topic.
    pub(super) fn unwatch(&mut self, now: Instant) {
        self.watched = self.watched.saturating_sub(1);
        self.last_use = now;
    }

    /// Returns the time at which the connections may sleep, if nothing happens before. While a topic
    /// is watched, it is later by the whole time.
    pub(super) fn sleep_at(&self, after: Duration, now: Instant) -> Instant {
        match self.watched {
            0 => self.last_use + after,
            _ => now + after,
        }
    }

    /// Begins to sleep if nothing was watched or used for that long. Returns whether it did.
    pub(super) fn try_sleep(&mut self, after: Duration, now: Instant) -> bool {
        let is_unused = self.watched == 0 && now >= self.sleep_at(after, now);
        let may_sleep = self.phase != SleepPhase::Asleep && is_unused;
        if may_sleep {
            self.phase = SleepPhase::Asleep;
        }
        may_sleep
    }

    /// Counts a connection as closed if the connections still sleep. Only then may it be closed.
    pub(super) fn close(&mut self, connection: SleepingConnection) -> bool {
        let is_asleep = self.phase == SleepPhase::Asleep;
        *self.closed(connection) |= is_asleep;
        is_asleep
    }

    /// Counts a connection as open. Returns whether the phase changed.
    pub(super) fn opened(&mut self, connection: SleepingConnection) -> bool {
        *self.closed(connection) = false;
        self.end_waking()
    }

    /// Ends the wait of reads, because a connection cannot be opened now. Returns whether the phase
    /// changed.
    pub(super) fn wake_failed(&mut self) -> bool {
        let is_waking = self.phase == SleepPhase::Waking;
        if is_waking {
            self.phase = SleepPhase::Awake;
        }
        is_waking
    }

    /// Returns the time until which reads must wait. `None` if they may start now.
    pub(super) fn reads_wait_until(&self, now: Instant) -> Option<Instant> {
        let is_waiting = self.phase == SleepPhase::Waking && self.read_at > now;
        is_waiting.then_some(self.read_at)
    }

    fn closed(&mut self, connection: SleepingConnection) -> &mut bool {
        match connection {
            SleepingConnection::Listener => &mut self.is_listener_closed,
            SleepingConnection::WatchLocks => &mut self.are_locks_closed,
        }
    }

    fn end_waking(&mut self) -> bool {
        let is_open = !self.is_listener_closed && !self.are_locks_closed;
        let is_over = self.phase == SleepPhase::Waking && is_open;
        if is_over {
            self.phase = SleepPhase::Awake;
        }
        is_over
    }
}

#[cfg(test)]
#[path = "sleep_state_model_tests.rs"]
mod model_tests;
