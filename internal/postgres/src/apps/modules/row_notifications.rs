//! Notifications about changed rows of `modules`, received on a separate connection and channel.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::AsyncMessage;

use crate::apps::modules::ModulesDatabase;
use crate::change_hint::is_probe;
use crate::notification_stream::{
    DisconnectCause, NotificationStream, RECONNECTS, connect_and_verify, reconnect_pause,
};

/// The channel on which the triggers notify.
pub const NOTIFY_CHANNEL: &str = "latido_modules";

/// The payload for a change of too many rows to list.
const ALL_ROWS_PAYLOAD: &str = "*";
/// The interval between full reads behind a pooler that never delivers notifications.
const FULL_READ_INTERVAL: Duration = Duration::from_secs(30);
/// The minimum lifetime of a connection that resets the back-off. A shorter one keeps the current
/// pause.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// The maximum number of messages that are collected into one hint.
const MAX_BATCH_MESSAGES: usize = 1024;

/// A hint that rows must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowHint {
    /// The modules with these ids have changed.
    Rows(Vec<String>),
    /// Any module may have changed: notifications before now may have been missed.
    All,
}

impl ModulesDatabase {
    /// Listens until the future is dropped, and passes hints to `sink`, which must not block. It
    /// sends [`RowHint::All`] once delivery is verified and after every gap. Behind a pooler that
    /// delivers nothing, it sends it at an interval.
    pub async fn listen(&self, sink: impl Fn(RowHint) + Send + Sync) {
        let (mut backoff, mut is_reported) = (RECONNECTS, false);
        loop {
            let started = Instant::now();
            let end = self.listen_once(&sink).await;
            if started.elapsed() >= STABLE_AFTER {
                (backoff, is_reported) = (RECONNECTS, false);
            }
            match end {
                DisconnectCause::Broken(reason) if is_reported => {
                    tracing::debug!(reason, "still cannot listen for changes of modules")
                }
                DisconnectCause::Broken(reason) => {
                    tracing::warn!(reason, "cannot listen for changes of modules; retrying")
                }
                DisconnectCause::NotDelivering => {
                    if !is_reported {
                        tracing::warn!(
                            every_s = FULL_READ_INTERVAL.as_secs(),
                            "notifications about modules never arrive; all rows are read from time to time"
                        );
                    }
                    sink(RowHint::All);
                    sleep(FULL_READ_INTERVAL).await;
                }
            }
            is_reported = true;
            sleep(reconnect_pause(&mut backoff)).await;
        }
    }

    async fn listen_once(&self, sink: &(impl Fn(RowHint) + Send + Sync)) -> DisconnectCause {
        let mut notifications = match connect_and_verify(&self.database, NOTIFY_CHANNEL).await {
            Ok(notifications) => notifications,
            Err(end) => return end,
        };
        sink(RowHint::All);
        loop {
            let collected = match notifications.next_message().await {
                Ok(first) => collect_hint(&mut notifications, first).await,
                Err(end) => Err(end),
            };
            match collected {
                Ok(hint) => hint.into_iter().for_each(sink),
                Err(end) => return end,
            }
        }
    }
}

/// Collects a message and all others that are already available, so that a burst costs one read. If
/// the connection breaks, the collected hints are dropped: the reconnect reads all rows anyway.
async fn collect_hint(
    notifications: &mut NotificationStream,
    first: AsyncMessage,
) -> Result<Option<RowHint>, DisconnectCause> {
    let (mut ids, mut everything, mut taken) = (Vec::new(), false, 0);
    let mut message = Some(first);
    while let Some(current) = message {
        match payload(&current).filter(|payload| !is_probe(payload)) {
            None => {}
            Some(payload) => match serde_json::from_str::<Vec<String>>(payload) {
                Ok(more) if payload != ALL_ROWS_PAYLOAD => ids.extend(more),
                // The payload is unknown, but some row has changed.
                Ok(_) | Err(_) => everything = true,
            },
        }
        taken += 1;
        message = if taken == MAX_BATCH_MESSAGES {
            None
        } else {
            notifications.try_next().await?
        };
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(if everything {
        Some(RowHint::All)
    } else {
        (!ids.is_empty()).then_some(RowHint::Rows(ids))
    })
}

fn payload(message: &AsyncMessage) -> Option<&str> {
    match message {
        AsyncMessage::Notification(notification) if notification.channel() == NOTIFY_CHANNEL => {
            Some(notification.payload())
        }
        _ => None,
    }
}
