//! The observer of watched topics.

use crate::history::HistoryReply;
use latido_base::ident::{Channel, Topic};

/// An observer of first and last viewers. The hub calls it under its lock, so the calls arrive in
/// order.
pub trait WatchObserver: Send + Sync {
    /// Notifies that the topic has gained its first viewer and must be read.
    fn on_watched(&self, topic: &Topic);
    /// Notifies that the topic has lost its last viewer.
    fn on_unwatched(&self, topic: &Topic);
    /// Reads the history of a channel with viewers. The hub calls it without its lock. An observer
    /// without a database drops the reply.
    fn read_history(&self, _channel: &Channel, reply: HistoryReply) {
        drop(reply);
    }
}
