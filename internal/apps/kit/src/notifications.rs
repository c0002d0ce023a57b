//! What the server's LISTEN connection reports to an app.

/// A report of the LISTEN connection. Every one is only a reason to read: any role that may connect
/// can forge a notification, and a lost connection loses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notification<'a> {
    /// Data of the app may have changed: `["app:NAME",""]` arrived on the server's channel, or a
    /// payload that this version does not understand.
    Changed,
    /// These distinct payloads arrived on one of the app's own channels.
    Payloads(&'a [String]),
    /// Notifications arrive from now on; a probe has proven it. Earlier ones may have been missed.
    Listening,
    /// Notifications no longer arrive, and those sent from now on are lost.
    Lost,
    /// LISTEN succeeds but no notification arrives: a transaction pooler is in between. The app
    /// must read at an interval until [`Listening`](Self::Listening).
    NotDelivering,
}

/// The part of an app that receives notifications.
pub trait NotificationHandler: Send + Sync {
    /// Handles a report. It runs on the task of the LISTEN connection, so it must not block.
    fn on_notification(&self, notification: Notification<'_>);
}
