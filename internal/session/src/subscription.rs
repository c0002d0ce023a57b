//! One channel that a client subscribed to.

use std::sync::Arc;

use crate::RoomPosition;
use latido_auth::PermissionLease;

/// A channel that the client subscribed to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: Arc<str>,
    pub(super) state: SubscriptionState,
    pub(super) history: HistoryState,
    /// The right, if only the database grants it.
    pub(super) lease: Option<Arc<PermissionLease>>,
}

/// The state of the history that the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HistoryState {
    /// The client did not ask for it, or has it.
    None,
    /// The client asked for it, and it is not being read yet.
    Wanted,
    /// It is being read for this client.
    Reading,
}

impl HistoryState {
    pub(super) fn wanted(is_wanted: bool) -> Self {
        match is_wanted {
            true => Self::Wanted,
            false => Self::None,
        }
    }
}

/// The state of a subscription.
#[derive(Debug, Clone, Copy)]
pub(super) enum SubscriptionState {
    /// The permission check is pending.
    AwaitsPermission,
    /// The stream does not work. The client was told, and is subscribed once the stream works.
    AwaitsStream,
    Active(RoomPosition),
}

impl Subscription {
    /// Returns the position in the room of an active subscription.
    pub(super) fn position(&self) -> Option<RoomPosition> {
        match self.state {
            SubscriptionState::Active(position) => Some(position),
            SubscriptionState::AwaitsPermission | SubscriptionState::AwaitsStream => None,
        }
    }

    /// Records that the client asks for the history. One that is being read serves this request too:
    /// its statement may be older, but this subscription is older still.
    pub(super) fn want_history(&mut self) {
        if self.history == HistoryState::None {
            self.history = HistoryState::Wanted;
        }
    }

    pub(super) fn awaits_stream(&self) -> bool {
        matches!(self.state, SubscriptionState::AwaitsStream)
    }
}
