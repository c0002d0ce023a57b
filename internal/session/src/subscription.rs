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
    AwaitsPermission(SubscriptionOrigin),
    /// The stream does not work, or the permission could not be looked up again. The client was told,
    /// and is subscribed once that works.
    AwaitsStream,
    Active(RoomPosition),
}

/// The origin of an attempt to subscribe, which decides what follows if the permission is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubscriptionOrigin {
    /// The client asked for it. It is told, and may ask again.
    Client,
    /// The stream of an active subscription was replaced, or the client asks again for one that waits.
    /// The client is told, and the server tries again.
    Replacement,
    /// The server tries again. The client knows that the channel cannot be read now.
    Retry,
}

impl Subscription {
    /// Returns the position in the room of an active subscription.
    pub(super) fn position(&self) -> Option<RoomPosition> {
        match self.state {
            SubscriptionState::Active(position) => Some(position),
            SubscriptionState::AwaitsPermission(_) | SubscriptionState::AwaitsStream => None,
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
