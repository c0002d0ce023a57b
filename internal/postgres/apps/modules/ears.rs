//! Which rows of `modules` somebody changed: hints, on a connection and a channel of the app's own.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::AsyncMessage;

use crate::postgres::apps::modules::Database;
use crate::postgres::hearing::{Backoff, End, Line, rehearse};
use crate::postgres::notice::is_probe;

/// Where the triggers tell.
pub const CHANNEL: &str = "latido_modules";

/// What a trigger says where the rows are too many to name.
const EVERYTHING: &str = "*";
/// How often all rows are read where notifications never arrive.
const DEAF_PAUSE: Duration = Duration::from_secs(30);
/// A connection that lived shorter than this does not reset the pause before the next one.
const STABLE: Duration = Duration::from_secs(10);
/// Messages taken from a busy wire before they are passed on.
const MAX_GATHERED: usize = 1024;

/// Read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// These modules.
    Rows(Vec<String>),
    /// All of them: whatever happened before now may have been missed.
    Everything,
}

impl Database {
    /// Listens for as long as it is polled. `sink` must not block. [`Heard::Everything`] comes once listening is proved to work, and after
    /// every gap; behind a pooler, where it never works, from time to time.
    pub async fn listen(&self, sink: impl Fn(Heard) + Send + Sync) {
        let (mut backoff, mut told) = (Backoff::default(), false);
        loop {
            let started = Instant::now();
            let end = self.hear(&sink).await;
            if started.elapsed() >= STABLE {
                (backoff, told) = (Backoff::default(), false);
            }
            match end {
                End::Broken(reason) if told => {
                    tracing::debug!(reason, "still cannot listen for changes of modules")
                }
                End::Broken(reason) => {
                    tracing::warn!(reason, "cannot listen for changes of modules; trying on")
                }
                End::Deaf => {
                    if !told {
                        tracing::warn!(
                            every_s = DEAF_PAUSE.as_secs(),
                            "notifications about modules never arrive; all rows are read from time to time"
                        );
                    }
                    sink(Heard::Everything);
                    sleep(DEAF_PAUSE).await;
                }
            }
            told = true;
            sleep(backoff.next()).await;
        }
    }

    async fn hear(&self, sink: &(impl Fn(Heard) + Send + Sync)) -> End {
        let mut line = match rehearse(&self.database, CHANNEL).await {
            Ok(line) => line,
            Err(end) => return end,
        };
        sink(Heard::Everything);
        loop {
            let gathered = match line.next().await {
                Ok(first) => gather(&mut line, first).await,
                Err(end) => Err(end),
            };
            match gathered {
                Ok(heard) => heard.into_iter().for_each(sink),
                Err(end) => return end,
            }
        }
    }
}

/// A message and whatever else is there already, so that a burst costs one read. What was gathered before a connection broke needs no
/// telling: everything will be read.
async fn gather(line: &mut Line, first: AsyncMessage) -> Result<Option<Heard>, End> {
    let (mut ids, mut everything, mut taken) = (Vec::new(), false, 0);
    let mut message = Some(first);
    while let Some(heard) = message {
        match payload(&heard).filter(|payload| !is_probe(payload)) {
            None => {}
            Some(payload) => match serde_json::from_str::<Vec<String>>(payload) {
                Ok(more) if payload != EVERYTHING => ids.extend(more),
                // Whatever it means, something changed.
                Ok(_) | Err(_) => everything = true,
            },
        }
        taken += 1;
        message = if taken == MAX_GATHERED {
            None
        } else {
            line.at_hand().await?
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
        AsyncMessage::Notification(heard) if heard.channel() == CHANNEL => Some(heard.payload()),
        _ => None,
    }
}
