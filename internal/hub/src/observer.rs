//! The observer of watched topics.

use latido_base::ident::Topic;

/// An observer of first and last viewers. The hub calls it under its lock, so the calls arrive in
/// order.
pub trait WatchObserver: Send + Sync {
    /// Notifies that the topic has gained its first viewer and must be read.
    fn on_watched(&self, topic: &Topic);
    /// Notifies that the topic has lost its last viewer.
    fn on_unwatched(&self, topic: &Topic);
}
