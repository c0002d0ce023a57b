//! The subscriptions that the server makes by itself: the way from a stream that was replaced or
//! removed to the one that has its name now, and the attempts after one that failed.

use std::sync::Arc;

use crate::error_effect::{error, error_code};
use crate::session::Session;
use crate::subscription::{HistoryState, SubscriptionOrigin, SubscriptionState};
use crate::{RoomPosition, SessionContext, SessionEffect};
use latido_protocol::ErrorCode;
use latido_stream::ChannelError;

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
            effects.extend(self.subscribe_anew(&name, SubscriptionOrigin::Replacement, context));
        }
        effects
    }

    /// Tries the subscriptions again that wait for a stream, because a stream works now. Those whose
    /// stream still does not work go on waiting, and the client is not told again.
    pub fn retry_subscriptions(&mut self, context: &SessionContext) -> Vec<SessionEffect> {
        let waiting = self.subscriptions.iter().filter(|s| s.awaits_stream());
        let names: Vec<_> = waiting.map(|s| Arc::clone(&s.name)).collect();
        names
            .into_iter()
            .filter(|name| !matches!(context.catalog.resolve(name), Err(ChannelError::Broken)))
            .filter_map(|name| self.subscribe_anew(&name, SubscriptionOrigin::Retry, context))
            .collect()
    }

    /// Returns the number of subscriptions that [`Self::retry_subscriptions`] would try again at
    /// most.
    pub fn waiting_subscriptions(&self) -> usize {
        self.subscriptions
            .iter()
            .filter(|subscription| subscription.awaits_stream())
            .count()
    }

    /// Subscribes a channel anew whose permission was asked for while its stream was replaced.
    pub fn on_outdated_permission(
        &mut self,
        name: &str,
        context: &SessionContext,
    ) -> Option<SessionEffect> {
        let origin = self.subscriptions.iter().find_map(|s| match s.state {
            SubscriptionState::AwaitsPermission(origin) if *s.name == *name => Some(origin),
            _ => None,
        });
        self.subscribe_anew(name, origin?, context)
    }

    /// Makes a subscription once more, with its wish for a history.
    pub(super) fn subscribe_anew(
        &mut self,
        name: &str,
        origin: SubscriptionOrigin,
        context: &SessionContext,
    ) -> Option<SessionEffect> {
        let index = self.subscriptions.iter().position(|s| *s.name == *name)?;
        let history = self.subscriptions.swap_remove(index).history;
        let wants_history = history != HistoryState::None;
        Some(self.subscribe(name.to_owned(), wants_history, origin, context))
    }

    /// Lets a subscription wait until its permission can be looked up. The client is told unless it
    /// knows.
    pub(super) fn wait_for_stream(&mut self, index: usize) -> Vec<SessionEffect> {
        let subscription = &mut self.subscriptions[index];
        let before = std::mem::replace(&mut subscription.state, SubscriptionState::AwaitsStream);
        // One that waits already was asked about for a new token.
        if matches!(
            before,
            SubscriptionState::AwaitsPermission(SubscriptionOrigin::Retry)
                | SubscriptionState::AwaitsStream
        ) {
            return Vec::new();
        }
        let (name, broken) = (subscription.name.to_string(), ChannelError::Broken);
        vec![error(error_code(&broken), broken.to_string(), Some(name))]
    }

    /// Ends a subscription whose permission is unknown. One that the server made by itself is tried
    /// again: the client did not ask, and would not ask again.
    pub(super) fn on_unknown_permission(&mut self, index: usize) -> Vec<SessionEffect> {
        let state = self.subscriptions[index].state;
        if let SubscriptionState::AwaitsPermission(SubscriptionOrigin::Client) = state {
            let subscription = self.subscriptions.swap_remove(index);
            let message = "the database can't be asked now; subscribe again later".into();
            let name = subscription.name.to_string();
            return vec![error(ErrorCode::Unavailable, message, Some(name))];
        }
        let mut effects = self.wait_for_stream(index);
        effects.push(SessionEffect::RetryLater);
        effects
    }
}
