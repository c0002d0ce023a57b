//! One connection, as its shard keeps it.

use std::sync::Arc;

use crate::ident::UserId;
use crate::session::{CloseReason, Conversation, Limits, Seat};
use crate::shard::Permits;
use crate::shard::guests::Visitor;
use crate::shard::outbox::Outbox;
use crate::websocket::Reader;

/// How often a connection whose token may be revoked is looked at, in seconds.
const REVOCATION_LOOK_S: u32 = 2;

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

/// Who speaks for a client. A guest's part lies in a box, and the place of the box where the conversation would be: nobody else pays for it.
pub(super) enum Voice {
    Native(Conversation),
    Guest(Box<Visitor>),
}

/// Small on purpose: this, the subscriptions' names and places, and four bytes for the socket are all that an idle client costs.
pub(super) struct Client {
    pub(super) generation: u32,
    pub(super) life: Life,
    pub(super) voice: Voice,
    pub(super) reader: Reader,
    /// Some while the socket is full.
    pub(super) outbox: Option<Box<Outbox>>,
    /// There may be more to read; it waits until the socket takes answers again.
    pub(super) unread: bool,
    /// Which of the shard's interpreters listens to it, from 1; 0: none.
    pub(super) tongue: u8,
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
    /// The native dialect's side, unless it is a guest that does not speak it.
    pub(super) fn conversation(&self) -> Option<&Conversation> {
        match &self.voice {
            Voice::Native(conversation) => Some(conversation),
            Voice::Guest(visitor) => visitor.native.as_ref(),
        }
    }

    pub(super) fn conversation_mut(&mut self) -> Option<&mut Conversation> {
        match &mut self.voice {
            Voice::Native(conversation) => Some(conversation),
            Voice::Guest(visitor) => visitor.native.as_mut(),
        }
    }

    /// Its places in the rooms.
    pub(super) fn seats(&self) -> impl Iterator<Item = Seat> {
        self.conversation()
            .into_iter()
            .flat_map(Conversation::seats)
    }

    /// The channels that it holds or is being asked about.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.conversation()
            .into_iter()
            .flat_map(Conversation::channels)
    }

    /// Who is there, as far as that is known.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.voice {
            Voice::Native(conversation) => Some(conversation.principal().user()),
            Voice::Guest(visitor) => visitor
                .user()
                .or_else(|| Some(visitor.native.as_ref()?.principal().user())),
        }
    }

    /// What it speaks, for operators.
    pub(super) fn dialect(&self) -> &'static str {
        match &self.voice {
            Voice::Native(_) => "native",
            Voice::Guest(visitor) => visitor.tenant,
        }
    }

    /// Its limits, where `limits` are those of every client.
    pub(super) fn limits<'a>(&'a self, limits: &'a Limits) -> &'a Limits {
        match &self.voice {
            Voice::Native(_) => limits,
            Voice::Guest(visitor) => &visitor.limits,
        }
    }

    /// Unix second at which the clock means something to it.
    fn next_time(&self, limits: &Limits) -> i64 {
        match &self.voice {
            Voice::Native(conversation) => conversation.next_time(limits),
            Voice::Guest(visitor) => {
                let native = visitor
                    .native
                    .as_ref()
                    .map(|conversation| conversation.next_time(limits));
                let own = visitor.guest.as_ref().and_then(|guest| guest.next_time());
                native.into_iter().chain(own).min().unwrap_or(i64::MAX)
            }
        }
    }

    /// The second at which something is due, if nothing happens before. `ahead_s`: what the wall clock is ahead of the shard's seconds.
    pub(super) fn next_deadline(&self, limits: &Limits, now_s: u32, unix_s: i64) -> u32 {
        if let Life::Closing { until_s, .. } = self.life {
            return until_s;
        }
        let limits = self.limits(limits);
        let is_pinged = self.pinged || limits.heartbeat_s >= limits.silence_s;
        let silence = self.heard_s.saturating_add(if is_pinged {
            limits.silence_s
        } else {
            limits.heartbeat_s
        });
        let behind = self
            .outbox
            .as_ref()
            .map_or(u32::MAX, |outbox| outbox.since_s + limits.behind_s);
        let token_in = self.next_time(limits).saturating_sub(unix_s).max(1);
        let token = now_s.saturating_add(u32::try_from(token_in).unwrap_or(u32::MAX));
        let revoked = if self
            .conversation()
            .is_some_and(|conversation| conversation.principal().may_be_revoked())
        {
            now_s + REVOCATION_LOOK_S
        } else {
            u32::MAX
        };
        silence.min(behind).min(token).min(revoked)
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
        assert!(size_of::<Principal>() <= 80, "{}", size_of::<Principal>());
        assert!(size_of::<Reader>() <= 16, "{}", size_of::<Reader>());
    }
}
