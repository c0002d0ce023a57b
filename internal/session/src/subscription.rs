//! One channel that a client subscribed to.

use std::sync::Arc;

use crate::RoomPosition;
use latido_auth::PermissionLease;

/// A channel that the client subscribed to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: Arc<str>,
    pub(super) state: SubscriptionState,
    /// The right, if only the database grants it.
    pub(super) lease: Option<Arc<PermissionLease>>,
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

    pub(super) fn awaits_stream(&self) -> bool {
        matches!(self.state, SubscriptionState::AwaitsStream)
    }
}
