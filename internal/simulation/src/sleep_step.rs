//! The steps of sleep.

/// A step of the sleep of the server's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SleepStep {
    /// Every viewer leaves, and time passes.
    Leave,
    /// Sleep begins if it may.
    Begin,
    /// The task of the listener notices the sleep or its end.
    ListenerNotices,
    /// The task of the lock holder notices the sleep or its end.
    LockHolderNotices,
}
