//! The histories that a client asked for: one is read at a time, so that a client costs no more than
//! one statement and keeps no more than one frame.

use std::sync::Arc;

use crate::subscription::{HistoryState, Subscription};
use crate::{RoomPosition, Session, SessionContext};
use latido_base::ident::Channel;

impl Session {
    /// Returns whether frames of this channel must wait for its history.
    pub fn awaits_history(&self, channel: &str) -> bool {
        self.find(channel)
            .is_some_and(|subscription| subscription.history != HistoryState::None)
    }

    /// Returns the channel whose history must be read now, and notes that it is being read. The
    /// result comes back through [`Session::on_history`]. Returns `None` while another one is being
    /// read, or if no active subscription waits for one.
    pub fn next_history(&mut self, context: &SessionContext) -> Option<Channel> {
        if self.is_reading_history {
            return None;
        }
        let is_due = |subscription: &&mut Subscription| {
            subscription.history == HistoryState::Wanted && subscription.position().is_some()
        };
        let mut due = self.subscriptions.iter_mut().filter(is_due);
        // A client whose stream was removed is about to leave the channel.
        let (subscription, channel) = due.find_map(|subscription| {
            let channel = context.catalog.resolve(&subscription.name).ok()?;
            Some((subscription, channel))
        })?;
        subscription.history = HistoryState::Reading;
        self.is_reading_history = true;
        Some(Channel {
            name: Arc::clone(&subscription.name),
            topic: channel.topic,
        })
    }

    /// Handles the end of the read of a channel's history. Returns the position of the subscription
    /// that the history is for, which the shard must send it to. Returns `None` if the client left
    /// meanwhile, or subscribed anew: then the statement may be older than the subscription.
    pub fn on_history(&mut self, channel: &str) -> Option<RoomPosition> {
        self.is_reading_history = false;
        let subscription = self.find_mut(channel)?;
        if subscription.history != HistoryState::Reading {
            return None;
        }
        subscription.history = HistoryState::None;
        subscription.position()
    }

    /// Lets a history that was read be read again later, because the client cannot take it now.
    pub fn postpone_history(&mut self, channel: &str) {
        self.is_reading_history = false;
        if let Some(subscription) = self.find_mut(channel)
            && subscription.history == HistoryState::Reading
        {
            subscription.history = HistoryState::Wanted;
        }
    }

    /// Forgets that the client asked for the history of a channel, because its stream has none.
    pub fn on_no_history(&mut self, channel: &str) {
        if let Some(subscription) = self.find_mut(channel) {
            subscription.history = HistoryState::None;
        }
    }

    fn find_mut(&mut self, channel: &str) -> Option<&mut Subscription> {
        let mut subscriptions = self.subscriptions.iter_mut();
        subscriptions.find(|subscription| *subscription.name == *channel)
    }

    fn find(&self, channel: &str) -> Option<&Subscription> {
        let mut subscriptions = self.subscriptions.iter();
        subscriptions.find(|subscription| *subscription.name == *channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every subscription of every connection has this.
    #[test]
    fn wish_for_history_fits_into_the_padding() {
        assert!(size_of::<Subscription>() <= 40);
        assert!(size_of::<Session>() <= 48);
    }
}
