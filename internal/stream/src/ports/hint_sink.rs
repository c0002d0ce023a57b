//! What the database tells the engine: which keys may have changed, and whether writers notify.

use latido_base::ident::{Key, StreamId, Topic};

/// A hint for the engine or an app. Every hint is only a reason to read: any role that may connect
/// can forge a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeHint {
    /// These keys changed; they are distinct, and there is at least one.
    Changed {
        /// The stream of the keys.
        stream: StreamId,
        /// The changed keys in canonical form.
        keys: Vec<Key>,
    },
    /// A row that triggers look keys up in moved to these keys. A transaction that was open then may
    /// change their rows without naming them.
    Moved {
        /// The stream of the keys.
        stream: StreamId,
        /// The distinct keys in canonical form, or `None` for any key of the stream.
        keys: Option<Vec<Key>>,
    },
    /// Data of this app changed (`["app:messaging",""]`); the engine ignores it.
    App(String),
    /// These payloads arrived on an app's own channel; the engine ignores them.
    Payloads {
        /// The channel.
        channel: &'static str,
        /// The distinct, sorted payloads, or `None` if there were too many.
        payloads: Option<Vec<String>>,
    },
    /// Any key of the stream may have changed; `None` means every stream.
    Everything(Option<StreamId>),
    /// Notifications no longer arrive, and those sent from now on are lost.
    Lost,
    /// Notifications arrive; a probe has proven it. Earlier changes are unknown, so everything
    /// watched must be read.
    Listening,
    /// LISTEN succeeds but no notification arrives: a transaction pooler is in between, or the two
    /// URLs lead to different databases.
    NotDelivering,
}

/// A change in the state of the locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchLockEvent {
    /// The locks of these keys are held, so their writers notify from now on. Changes made without
    /// a notification are visible: read the keys.
    NotificationsEnabled(Vec<Topic>),
    /// All gate locks of these streams are held, so moves of their keys are notified from now on.
    /// Those before are unknown, so every key counts as moved.
    MovesNotified(Vec<StreamId>),
    /// The locks are lost: writers may skip notifications.
    Lost,
}

/// The receiver of change hints. It is called on the task of a connection, so it must not block.
pub trait HintSink: Send + Sync {
    /// Handles a hint of the LISTEN connection.
    fn on_hint(&self, hint: &ChangeHint);

    /// Handles a change in the state of the watch locks.
    fn on_watch_locks(&self, event: &WatchLockEvent);
}
