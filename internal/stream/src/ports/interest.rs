//! The engine's declaration of watched keys, which lets writers of all other keys skip
//! notifications.

use latido_base::ident::Topic;

/// The state of notifications for one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyState {
    /// Writers notify: after a read, every change sends a hint.
    Enabled,
    /// Writers will notify soon, and a call of [`HintSink::on_watch_locks`](super::hint_sink::HintSink::on_watch_locks)
    /// will follow. A read before that call could miss a change without a notification.
    Pending,
    /// The state cannot be determined: notifications do not arrive, or not now. Reading at once is
    /// as good as reading later.
    Unknown,
}

/// Declares interest in keys. The engine calls it under its lock, so implementations must not block
/// and must not call the engine.
pub trait Interest: Send + Sync {
    /// Declares that the key has viewers.
    fn watch(&self, topic: &Topic) -> NotifyState;

    /// Declares that the key has no viewers any more.
    fn unwatch(&self, topic: &Topic);

    /// Lets the writers of the topic's key skip notifications although it has viewers: all topics of
    /// the key are polled, each until its next `watch`. Returns `false` if its writers notify in any
    /// case.
    fn release_for_polling(&self, topic: &Topic) -> bool {
        let _ = topic;
        false
    }
}

/// An implementation for databases whose writers always notify.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoInterest;

impl Interest for NoInterest {
    fn watch(&self, _: &Topic) -> NotifyState {
        NotifyState::Enabled
    }

    fn unwatch(&self, _: &Topic) {}
}
