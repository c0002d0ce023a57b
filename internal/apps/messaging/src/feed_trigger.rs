//! Wakes an app's feed when the database reports a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use latido_app_kit::{Notification, NotificationHandler};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The interval between reads while notifications arrive, for rows whose trigger is missing. `POLL`
/// is the interval while they do not arrive.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The input of the feed from the database listener. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeedTrigger(Arc<FeedTriggerState>);

#[derive(Debug, Default)]
struct FeedTriggerState {
    wake: Notify,
    /// `true` while notifications arrive. `Relaxed` suffices: the flag only selects the read
    /// interval.
    is_listening: AtomicBool,
    /// `true` once the feed has its first cursor, so that clients that join later miss nothing. It
    /// is set once. `Relaxed` suffices because the data that it announces is behind locks.
    is_ready: AtomicBool,
}

impl FeedTrigger {
    /// Reports that something changed or may have changed.
    pub(crate) fn notify(&self) {
        self.0.wake.notify_one();
    }

    /// Sets the flag that notifications arrive, and triggers a read.
    pub(crate) fn set_listening(&self, is_listening: bool) {
        self.0.is_listening.store(is_listening, Ordering::Relaxed);
        self.notify();
    }

    /// Returns `true` if the feed has started, so that clients may connect.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Relaxed)
    }

    /// Records that the feed knows where it begins.
    pub(crate) fn set_ready(&self) {
        self.0.is_ready.store(true, Ordering::Relaxed);
    }

    /// Waits for the next hint, at most as long as the next check is due.
    pub(crate) async fn wait(&self) {
        let interval = if self.0.is_listening.load(Ordering::Relaxed) {
            SWEEP_INTERVAL
        } else {
            POLL_INTERVAL
        };
        let _ = timeout(interval, self.0.wake.notified()).await;
    }
}

impl NotificationHandler for FeedTrigger {
    fn on_notification(&self, notification: Notification<'_>) {
        match notification {
            Notification::Changed | Notification::Payloads(_) => self.notify(),
            Notification::Listening => self.set_listening(true),
            Notification::Lost | Notification::NotDelivering => self.set_listening(false),
        }
    }
}
