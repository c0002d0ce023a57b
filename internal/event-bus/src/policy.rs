//! The rules of an app for its topics.

use crate::{PresenceDiff, PresenceMode, Publish, TopicName};

/// The rules of an app for its topics. The bus calls them under its lock: they must answer from
/// their arguments, at once, and must not call back into the bus.
pub trait TopicPolicy: Send + Sync {
    /// Returns the presence mode of a topic. The bus calls it when the topic opens.
    fn presence_mode(&self, topic: &TopicName) -> PresenceMode;

    /// Returns messages to publish because the presence list of a topic changed. They are delivered
    /// right after the change, before any later event. They cannot be refused, so each change
    /// should cause only a few.
    fn on_presence_change(&self, topic: &TopicName, diff: &PresenceDiff) -> Vec<Publish>;
}
