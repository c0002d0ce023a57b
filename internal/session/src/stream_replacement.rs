//! The way of subscriptions from a stream that was replaced or removed to the one that has its name
//! now.

use std::sync::Arc;

use crate::session::Session;
use crate::subscription::{HistoryState, SubscriptionState};
use crate::{RoomPosition, SessionContext, SessionEffect};

impl Session {
    /// Subscribes anew what was subscribed in rooms of replaced streams. The client gets the reply
    /// and the first frame of the new stream, or the error that it would get for a new subscription.
    pub fn replace_subscriptions(
        &mut self,
        is_replaced: impl Fn(RoomPosition) -> bool,
        context: &SessionContext,
    ) -> Vec<SessionEffect> {
        let left = self.subscriptions.iter().filter_map(|subscription| {
            let position = subscription.position().filter(|at| is_replaced(*at))?;
            Some((Arc::clone(&subscription.name), position))
        });
        let left: Vec<_> = left.collect();
        let mut effects = Vec::with_capacity(2 * left.len());
        for (name, position) in left {
            effects.push(SessionEffect::Leave(position));
            effects.extend(self.subscribe_anew(&name, context));
        }
        effects
    }

    /// Subscribes a channel anew whose permission was asked for while its stream was replaced.
    pub fn on_outdated_permission(
        &mut self,
        name: &str,
        context: &SessionContext,
    ) -> Option<SessionEffect> {
        let waits = |state| matches!(state, SubscriptionState::AwaitsPermission);
        let mut subscriptions = self.subscriptions.iter();
        let is_waiting = subscriptions.any(|s| *s.name == *name && waits(s.state));
        is_waiting
            .then(|| self.subscribe_anew(name, context))
            .flatten()
    }

    fn subscribe_anew(&mut self, name: &str, context: &SessionContext) -> Option<SessionEffect> {
        let index = self.subscriptions.iter().position(|s| *s.name == *name)?;
        let history = self.subscriptions.swap_remove(index).history;
        let wants_history = history != HistoryState::None;
        Some(self.subscribe(name.to_owned(), wants_history, context))
    }
}
