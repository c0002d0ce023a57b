//! One connection, as its shard keeps it.

use crate::session::{CloseReason, Conversation, Limits};
use crate::shard::Permits;
use crate::shard::outbox::Outbox;
use crate::websocket::Reader;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Open,
    /// The close frame is on its way or sent; what still comes in is thrown away until the end of stream or this second.
    Closing {
        reason: CloseReason,
        until_s: u32,
    },
    /// Nothing more to do but to forget it.
    Dead(CloseReason),
}

/// Small on purpose: this, the subscriptions' names and places, and four bytes for the socket are all that an idle client costs.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) generation: u32,
    pub(super) life: Life,
    pub(super) conversation: Conversation,
    pub(super) reader: Reader,
    /// Some while the socket is full.
    pub(super) outbox: Option<Box<Outbox>>,
    /// There may be more to read; it waits until the socket takes answers again.
    pub(super) unread: bool,
    /// Second of its arrival.
    pub(super) since_s: u32,
    /// Second of the last byte from the client.
    pub(super) heard_s: u32,
    /// Pinged since then.
    pub(super) pinged: bool,
    /// Second at which the timer wheel looks at this client.
    pub(super) armed_s: u32,
    /// Count this connection against the limits until it is dropped.
    pub(super) _permit: Permits,
}

impl Client {
    /// The second at which something is due, if nothing happens before. `ahead_s`: what the wall clock is ahead of the shard's seconds.
    pub(super) fn next_deadline(&self, limits: &Limits, now_s: u32, unix_s: i64) -> u32 {
        if let Life::Closing { until_s, .. } = self.life {
            return until_s;
        }
        let silence = self.heard_s + if self.pinged { limits.silence_s } else { limits.heartbeat_s };
        let behind = self.outbox.as_ref().map_or(u32::MAX, |outbox| outbox.since_s + limits.behind_s);
        let token_in = self.conversation.next_time(limits).saturating_sub(unix_s).max(1);
        let token = now_s.saturating_add(u32::try_from(token_in).unwrap_or(u32::MAX));
        silence.min(behind).min(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;

    /// Two cache lines and a few bytes a client; a principal's texts come on top.
    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 136, "{}", size_of::<Client>());
        assert!(size_of::<Principal>() <= 72, "{}", size_of::<Principal>());
        assert!(size_of::<Reader>() <= 16, "{}", size_of::<Reader>());
    }
}
