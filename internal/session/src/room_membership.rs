//! The positions of a session's subscriptions in the rooms of its shard.

use std::sync::Arc;

use crate::error_effect::error;
use crate::subscription::{Subscription, SubscriptionState};
use crate::{RoomPosition, Session, SessionContext, SessionEffect};
use latido_base::ident::Channel;
use latido_protocol::ErrorCode;

impl Session {
    /// Stores the position of a new subscription, and the lease of the right to it. The name
    /// becomes the shard's own copy, which all its subscribers share.
    pub fn on_subscribed(
        &mut self,
        channel: &Channel,
        position: RoomPosition,
        context: &SessionContext,
    ) {
        let SessionContext {
            catalog, policy, ..
        } = context;
        let lease = policy.lease(&self.principal, catalog, channel);
        if let Some(subscription) = self
            .subscriptions
            .iter_mut()
            .find(|subscription| subscription.name == channel.name)
        {
            *subscription = Subscription {
                name: Arc::clone(&channel.name),
                state: SubscriptionState::Active(position),
                history: subscription.history,
                lease,
            };
        }
    }

    /// Ends a subscription that the shard could not make, because a limit of the whole server is
    /// reached, as `message` says.
    pub fn on_limit_reached(&mut self, channel: &Channel, message: String) -> SessionEffect {
        self.subscriptions
            .retain(|subscription| subscription.name != channel.name);
        let name = channel.name.to_string();
        error(ErrorCode::TooManyChannels, message, Some(name))
    }

    /// Updates a subscription that moved within its room.
    pub fn on_position_moved(&mut self, position: RoomPosition) {
        for subscription in &mut self.subscriptions {
            if let SubscriptionState::Active(current) = &mut subscription.state
                && current.room == position.room
            {
                current.member = position.member;
            }
        }
    }

    /// Returns the positions of all active subscriptions.
    pub fn positions(&self) -> impl Iterator<Item = RoomPosition> {
        self.subscriptions.iter().filter_map(Subscription::position)
    }
}
