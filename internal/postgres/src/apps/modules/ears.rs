//! Notifications about changed rows of `modules`, received on a separate connection and channel.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::AsyncMessage;

use crate::apps::modules::Database;
use crate::hearing::{Backoff, End, Line, rehearse};
use crate::notice::is_probe;

/// The channel on which the triggers notify.
pub const CHANNEL: &str = "latido_modules";

/// The payload for a change of too many rows to list.
const EVERYTHING: &str = "*";
/// The interval between full reads behind a pooler that never delivers notifications.
const DEAF_PAUSE: Duration = Duration::from_secs(30);
/// The minimum lifetime of a connection that resets the back-off. A shorter one keeps the current
/// pause.
const STABLE: Duration = Duration::from_secs(10);
/// The maximum number of messages that are collected into one hint.
const MAX_GATHERED: usize = 1024;

/// A hint that rows must be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The modules with these ids have changed.
    Rows(Vec<String>),
    /// Any module may have changed: notifications before now may have been missed.
    Everything,
}

impl Database {
    /// Listens until the future is dropped, and passes hints to `sink`, which must not block. It
    /// sends [`RowHint::All`] once delivery is verified and after every gap. Behind a pooler that
    /// delivers nothing, it sends it at an interval.
    pub async fn listen(&self, sink: impl Fn(Heard) + Send + Sync) {
        let (mut backoff, mut is_reported) = (Backoff::default(), false);
        loop {
            let started = Instant::now();
            let end = self.hear(&sink).await;
            if started.elapsed() >= STABLE {
                (backoff, is_reported) = (Backoff::default(), false);
            }
            match end {
                End::Broken(reason) if is_reported => {
                    tracing::debug!(reason, "still cannot listen for changes of modules")
                }
                End::Broken(reason) => {
                    tracing::warn!(reason, "cannot listen for changes of modules; retrying")
                }
                End::Deaf => {
                    if !is_reported {
                        tracing::warn!(
                            every_s = DEAF_PAUSE.as_secs(),
                            "notifications about modules never arrive; all rows are read from time to time"
                        );
                    }
                    sink(Heard::Everything);
                    sleep(DEAF_PAUSE).await;
                }
            }
            is_reported = true;
            sleep(backoff.next()).await;
        }
    }

    async fn hear(&self, sink: &(impl Fn(Heard) + Send + Sync)) -> End {
        let mut notifications = match rehearse(&self.database, CHANNEL).await {
            Ok(notifications) => notifications,
            Err(end) => return end,
        };
        sink(Heard::Everything);
        loop {
            let collected = match notifications.next().await {
                Ok(first) => gather(&mut notifications, first).await,
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
async fn gather(notifications: &mut Line, first: AsyncMessage) -> Result<Option<Heard>, End> {
    let (mut ids, mut everything, mut taken) = (Vec::new(), false, 0);
    let mut message = Some(first);
    while let Some(current) = message {
        match payload(&current).filter(|payload| !is_probe(payload)) {
            None => {}
            Some(payload) => match serde_json::from_str::<Vec<String>>(payload) {
                Ok(more) if payload != EVERYTHING => ids.extend(more),
                // The payload is unknown, but some row has changed.
                Ok(_) | Err(_) => everything = true,
            },
        }
        taken += 1;
        message = if taken == MAX_GATHERED {
            None
        } else {
            notifications.at_hand().await?
        };
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(if everything {
        Some(Heard::Everything)
    } else {
        (!ids.is_empty()).then_some(Heard::Rows(ids))
    })
}

fn payload(message: &AsyncMessage) -> Option<&str> {
    match message {
        AsyncMessage::Notification(notification) if notification.channel() == CHANNEL => {
            Some(notification.payload())
        }
        _ => None,
    }
}
