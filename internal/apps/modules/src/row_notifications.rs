//! Notifications about changed rows of `modules`, turned into hints of which rows to read again.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use latido_app_kit::{Notification, NotificationHandler};

/// The channel on which the triggers of `sql/apps/modules.sql` notify.
pub(super) const NOTIFY_CHANNEL: &str = "latido_modules";

/// The payload for a change of too many rows to list.
const ALL_ROWS_PAYLOAD: &str = "*";
/// The interval between full reads while a pooler delivers no notifications.
pub(super) const FULL_READ_INTERVAL: Duration = Duration::from_secs(30);
/// The largest number of queued hints. If the queue is full, all rows are read.
const MAX_QUEUED_HINTS: usize = 256;

/// A hint that rows must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RowHint {
    /// The modules with these ids have changed.
    Rows(Vec<String>),
    /// Any module may have changed: notifications before now may have been missed.
    All,
}

/// The input of the row reader from the database listener.
pub(super) struct RowNotifications {
    hints: mpsc::Sender<RowHint>,
    /// `true` while notifications are known not to arrive.
    must_poll: watch::Sender<bool>,
}

impl RowNotifications {
    /// Creates the input and the queue that it fills.
    pub(super) fn new() -> (Self, mpsc::Receiver<RowHint>) {
        let (hints, receiver) = mpsc::channel(MAX_QUEUED_HINTS);
        let (must_poll, _) = watch::channel(false);
        (Self { hints, must_poll }, receiver)
    }

    /// Requests a full read at an interval while notifications do not arrive. Runs until it is
    /// dropped.
    pub(super) async fn poll_without_delivery(&self, interval: Duration) {
        let mut must_poll = self.must_poll.subscribe();
        loop {
            // The sender is alive, so waiting never fails.
            let _ = must_poll.wait_for(|must_poll| *must_poll).await;
            let delivers = must_poll.wait_for(|must_poll| !*must_poll);
            if timeout(interval, delivers).await.is_err() {
                self.enqueue(RowHint::All);
            }
        }
    }

    /// Queues a hint. If the queue is full, the reader is behind, and the last queued hint makes it
    /// read all rows.
    fn enqueue(&self, hint: RowHint) {
        if let Ok(permit) = self.hints.try_reserve() {
            // The last slot is reserved for `All`, which covers all hints that find no slot.
            permit.send(if self.hints.capacity() == 0 {
                RowHint::All
            } else {
                hint
            });
        }
    }
}

impl NotificationHandler for RowNotifications {
    fn on_notification(&self, notification: Notification<'_>) {
        match notification {
            Notification::Payloads(payloads) => self.enqueue(hint(payloads)),
            Notification::Changed => self.enqueue(RowHint::All),
            Notification::Listening => {
                self.must_poll.send_replace(false);
                self.enqueue(RowHint::All);
            }
            Notification::NotDelivering => {
                self.must_poll.send_replace(true);
                self.enqueue(RowHint::All);
            }
            // The reconnect is followed by `Listening` or `NotDelivering`, and then by a full read.
            Notification::Lost => drop(self.must_poll.send_replace(false)),
        }
    }
}

/// Merges payloads into one hint, so that a burst costs one read.
fn hint(payloads: &[String]) -> RowHint {
    let mut ids = Vec::new();
    for payload in payloads {
        match serde_json::from_str::<Vec<String>>(payload) {
            Ok(more) if payload != ALL_ROWS_PAYLOAD => ids.extend(more),
            // The payload is unknown, but some row has changed.
            Ok(_) | Err(_) => return RowHint::All,
        }
    }
    ids.sort_unstable();
    ids.dedup();
    RowHint::Rows(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(texts: &[&str]) -> RowHint {
        hint(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn payloads_become_one_hint() {
        let rows = |ids: &[&str]| RowHint::Rows(ids.iter().map(ToString::to_string).collect());
        assert_eq!(
            payloads(&[r#"["M2","M1"]"#, r#"["M1"]"#]),
            rows(&["M1", "M2"])
        );
        for unknown in ["*", "what", r#"{"M1":1}"#, "[1]"] {
            assert_eq!(payloads(&[r#"["M1"]"#, unknown]), RowHint::All, "{unknown}");
        }
    }

    #[test]
    fn full_queue_ends_with_a_full_read() {
        let (input, mut hints) = RowNotifications::new();
        for _ in 0..2 * MAX_QUEUED_HINTS {
            input.on_notification(Notification::Payloads(&[r#"["M1"]"#.to_owned()]));
        }
        let queued: Vec<_> = std::iter::from_fn(|| hints.try_recv().ok()).collect();
        assert_eq!(queued.len(), MAX_QUEUED_HINTS);
        assert_eq!(queued.last(), Some(&RowHint::All));
    }

    #[tokio::test]
    async fn all_rows_are_read_at_an_interval_while_nothing_is_delivered() {
        let (input, mut hints) = RowNotifications::new();
        let interval = Duration::from_millis(10);
        let script = async {
            assert!(timeout(interval * 10, hints.recv()).await.is_err());
            input.on_notification(Notification::NotDelivering);
            for _ in 0..3 {
                assert_eq!(hints.recv().await, Some(RowHint::All));
            }
            input.on_notification(Notification::Listening);
            while timeout(interval * 10, hints.recv()).await.is_ok() {}
        };
        tokio::select! {
            () = input.poll_without_delivery(interval) => panic!("it runs until it is dropped"),
            () = script => {}
        }
    }
}
