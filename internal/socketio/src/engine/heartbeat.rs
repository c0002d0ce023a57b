//! The heartbeat of a session. In version 4 the server pings, in version 3 the client does.

use latido_socketio_protocol::engineio::Version;

/// A time in milliseconds since an origin that the caller chooses once.
pub(crate) type Millis = u64;

/// A time that never comes.
const NEVER: Millis = Millis::MAX;

/// The time by which a session's first event is early. A client counts from the arrival of the
/// handshake, and the timer and the next request take some milliseconds.
const LEAD: Millis = 10;

/// The times of the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// The time between two pings.
    pub(crate) ping_interval: Millis,
    /// The time in which a ping must be answered.
    pub(crate) ping_timeout: Millis,
}

/// The next events of the heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heartbeat {
    /// The time of the next ping to the client.
    ping_at: Millis,
    /// The time by which the client must have sent its ping or its pong.
    deadline: Millis,
}

/// The event that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeartbeatEvent {
    /// The server must send a ping.
    Ping,
    /// The client is gone.
    Timeout,
}

impl Heartbeat {
    pub(super) fn new(version: Version, timing: &Timing, now: Millis) -> Self {
        match version {
            Version::V4 => Self {
                ping_at: (now + timing.ping_interval).saturating_sub(LEAD),
                deadline: NEVER,
            },
            Version::V3 => Self {
                ping_at: NEVER,
                deadline: (now + timing.ping_interval + timing.ping_timeout).saturating_sub(LEAD),
            },
        }
    }

    /// Handles a ping of the client (version 3).
    pub(super) fn on_ping(&mut self, timing: &Timing, now: Millis) {
        self.deadline = now + timing.ping_interval + timing.ping_timeout;
    }

    /// Handles a pong of the client (version 4).
    pub(super) fn on_pong(&mut self, timing: &Timing, now: Millis) {
        self.ping_at = now + timing.ping_interval;
        self.deadline = NEVER;
    }

    /// Returns the event that is due.
    pub(super) fn on_timer(&mut self, timing: &Timing, now: Millis) -> Option<HeartbeatEvent> {
        if now >= self.deadline {
            return Some(HeartbeatEvent::Timeout);
        }
        if now < self.ping_at {
            return None;
        }
        // A ping that is a little late does not delay the timeout.
        let late = (now - self.ping_at).min(timing.ping_timeout / 10);
        self.ping_at = NEVER;
        self.deadline = now + timing.ping_timeout - late;
        Some(HeartbeatEvent::Ping)
    }

    /// Returns the time of the next event.
    pub(super) fn next_timer(&self) -> Millis {
        self.ping_at.min(self.deadline)
    }
}
