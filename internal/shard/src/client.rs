//! The state that a shard keeps for one connection.

use std::sync::Arc;

use crate::handler_state::HandlerState;
use crate::outbox::Outbox;
use latido_admission::PermitSet;
use latido_auth::REVOCATION_CHECK;
use latido_base::ident::UserId;
use latido_protocol::websocket::FrameReader;
use latido_session::{CloseReason, RoomPosition, Session, SessionContext, SessionLimits};

/// The stage in the life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    Open,
    /// The close frame is sent or queued. Further input is discarded until the end of the stream,
    /// or until `until_s`, in seconds since the shard started.
    Closing {
        reason: CloseReason,
        until_s: u32,
    },
    /// The connection has ended; only its removal is left.
    Dead(CloseReason),
}

/// The protocol state of a client. An app connection's state is boxed, in the place of the session,
/// so that native clients do not pay for it.
pub(super) enum ProtocolState {
    Native(Session),
    App(Box<HandlerState>),
}

/// One client of a shard. The size matters: an idle client costs this struct, the names and slots
/// of its subscriptions, and four bytes for its socket.
pub(super) struct ShardClient {
    pub(super) generation: u32,
    pub(super) state: ConnectionState,
    pub(super) protocol: ProtocolState,
    pub(super) reader: FrameReader,
    /// The unsent bytes; `Some` while the socket is full.
    pub(super) outbox: Option<Box<Outbox>>,
    /// Set if input may be left unread. The shard reads it once the socket accepts responses again.
    pub(super) has_unread_input: bool,
    /// The index of the shard's in-band upgrade for this client, counted from 1; 0 means none.
    pub(super) in_band_upgrade: u8,
    /// The second in which the connection was established.
    pub(super) connected_s: u32,
    /// The second in which the last byte from the client arrived.
    pub(super) last_received_s: u32,
    /// Set from the ping until the next byte arrives.
    pub(super) awaiting_pong: bool,
    /// The second for which the timer wheel holds this client's entry.
    pub(super) timer_at_s: u32,
    /// Held so that the connection counts against the limits until it is dropped.
    pub(super) _permits: PermitSet,
}

impl ShardClient {
    /// Returns the native session, or `None` for an app connection without one.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.protocol {
            ProtocolState::Native(session) => Some(session),
            ProtocolState::App(app) => app.native_session.as_deref(),
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.protocol {
            ProtocolState::Native(session) => Some(session),
            ProtocolState::App(app) => app.native_session.as_deref_mut(),
        }
    }

    /// Returns the client's positions in the rooms.
    pub(super) fn positions(&self) -> impl Iterator<Item = RoomPosition> {
        self.session().into_iter().flat_map(Session::positions)
    }

    /// Returns the channels that are subscribed or waiting for a permission check.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        self.session().into_iter().flat_map(Session::channels)
    }

    /// Returns the user, or `None` while an app connection is unauthenticated.
    pub(super) fn user(&self) -> Option<&UserId> {
        match &self.protocol {
            ProtocolState::Native(session) => Some(session.principal().user()),
            ProtocolState::App(app) => app
                .user()
                .or_else(|| Some(app.native_session.as_ref()?.principal().user())),
        }
    }

    /// Returns the name of the protocol, for administrators.
    pub(super) fn dialect(&self) -> &'static str {
        match &self.protocol {
            ProtocolState::Native(_) => "native",
            ProtocolState::App(app) => app.app,
        }
    }

    /// Returns the limits of this client; `limits` are the default ones.
    pub(super) fn limits<'a>(&'a self, limits: &'a SessionLimits) -> &'a SessionLimits {
        match &self.protocol {
            ProtocolState::Native(_) => limits,
            ProtocolState::App(app) => &app.limits,
        }
    }

    /// Returns the next Unix second at which the session or the handler has a timer.
    fn next_timer(&self, limits: &SessionLimits) -> i64 {
        match &self.protocol {
            ProtocolState::Native(session) => session.next_timer(limits),
            ProtocolState::App(app) => {
                let native = app
                    .native_session
                    .as_ref()
                    .map(|session| session.next_timer(limits));
                let own = app
                    .handler
                    .as_ref()
                    .and_then(|handler| handler.next_timer());
                native.into_iter().chain(own).min().unwrap_or(i64::MAX)
            }
        }
    }

    /// Returns the second at which something is due if nothing happens before. `now_s` is on the
    /// shard's clock, `unix_s` on the wall clock.
    pub(super) fn next_deadline_s(&self, context: &SessionContext, now_s: u32, unix_s: i64) -> u32 {
        if let ConnectionState::Closing { until_s, .. } = self.state {
            return until_s;
        }
        let limits = self.limits(&context.limits);
        let is_pinged = self.awaiting_pong || limits.heartbeat_s >= limits.idle_timeout_s;
        let idle = self.last_received_s.saturating_add(if is_pinged {
            limits.idle_timeout_s
        } else {
            limits.heartbeat_s
        });
        let slow = self
            .outbox
            .as_ref()
            .map_or(u32::MAX, |outbox| outbox.progress_s + limits.slow_client_s);
        let token_in = self.next_timer(limits).saturating_sub(unix_s).max(1);
        let token = now_s.saturating_add(u32::try_from(token_in).unwrap_or(u32::MAX));
        let check = self.session().and_then(|session| {
            let token = session
                .principal()
                .may_be_revoked()
                .then_some(REVOCATION_CHECK);
            let rights = session.has_leases().then(|| context.policy.lease_check());
            token.into_iter().chain(rights).min()
        });
        let check = check.map_or(u32::MAX, |check| {
            now_s.saturating_add(u32::try_from(check.as_secs()).unwrap_or(u32::MAX))
        });
        idle.min(slow).min(token).min(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_auth::Principal;

    /// A client takes two cache lines and a few bytes; the strings of its principal come on top.
    #[test]
    fn idle_client_fits_its_size_limit() {
        assert!(
            size_of::<ShardClient>() <= 136,
            "{}",
            size_of::<ShardClient>()
        );
        assert!(size_of::<Principal>() <= 80, "{}", size_of::<Principal>());
        assert!(
            size_of::<FrameReader>() <= 16,
            "{}",
            size_of::<FrameReader>()
        );
    }
}
