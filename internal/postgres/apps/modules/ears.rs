//! Which rows of `modules` somebody changed: hints, on a connection and a channel of the app's own.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::postgres::apps::modules::Database;
use crate::postgres::connect::Wire;
use crate::postgres::error::describe;
use crate::postgres::listener::{Backoff, End, Ping, alongside, answered, at_hand, next};

/// Where the triggers tell.
pub const CHANNEL: &str = "latido_modules";

/// Before a nonce: a notification of our own, by which we see that notifications arrive.
const PROBE: &str = "probe:";
/// What a trigger says where the rows are too many to name.
const EVERYTHING: &str = "*";
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(2);
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
                End::Broken(reason) if told => tracing::debug!(reason, "still cannot listen for changes of modules"),
                End::Broken(reason) => tracing::warn!(reason, "cannot listen for changes of modules; trying on"),
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
        let (client, wire) = match self.rehearse().await {
            Ok(parts) => parts,
            Err(end) => return end,
        };
        sink(Heard::Everything);
        follow(Arc::new(client), wire, sink).await
    }

    /// Connects, LISTENs, and proves that notifications arrive.
    async fn rehearse(&self) -> Result<(Client, Wire), End> {
        let endpoint = self.database.direct();
        let (client, mut wire) = match timeout(endpoint.connect_limit(), endpoint.plain()).await {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return Err(End::Broken(describe(&error))),
            Err(_) => return Err(End::Broken("no connection within the connect time-out".to_owned())),
        };
        let listen = timeout(PROBE_LIMIT, client.batch_execute("LISTEN latido_modules"));
        match alongside(&mut wire, listen).await? {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(End::Broken(describe(&error))),
            Err(_) => return Err(End::Broken("LISTEN was not answered".to_owned())),
        }
        let nonce = format!("{PROBE}{:x}", fastrand::u64(..));
        let params: [(&(dyn ToSql + Sync), Type); 2] = [(&CHANNEL, Type::TEXT), (&nonce, Type::TEXT)];
        let send = self.database.query("the probe", "SELECT pg_catalog.pg_notify($1, $2)::text", &params);
        let mut send = std::pin::pin!(timeout(PROBE_LIMIT, send));
        let (mut sent, mut heard) = (false, false);
        let arrival = async {
            while !(sent && heard) {
                tokio::select! {
                    answer = &mut send, if !sent => match answer {
                        Ok(Ok(_)) => sent = true,
                        Ok(Err(error)) => return Err(End::Broken(error.to_string())),
                        Err(_) => return Err(End::Broken("the probe could not be sent".to_owned())),
                    },
                    message = next(&mut wire) => heard |= payload(&message?) == Some(&nonce),
                }
            }
            Ok(())
        };
        match timeout(PROBE_LIMIT * 2, arrival).await {
            Ok(result) => result?,
            Err(_) => return Err(End::Deaf),
        }
        Ok((client, wire))
    }
}

async fn follow(client: Arc<Client>, mut wire: Wire, sink: &(impl Fn(Heard) + Send + Sync)) -> End {
    let mut due = interval(PING_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ping: Ping = None;
    loop {
        tokio::select! {
            message = next(&mut wire) => match message {
                Ok(first) => match gather(&mut wire, first).await {
                    Ok(heard) => heard.into_iter().for_each(sink),
                    Err(end) => return end,
                },
                Err(end) => return end,
            },
            _ = due.tick(), if ping.is_none() => {
                let client = client.clone();
                ping = Some(Box::pin(async move { timeout(PING_LIMIT, client.batch_execute("")).await }));
            },
            result = answered(&mut ping) => match result {
                Ok(Ok(())) => ping = None,
                Ok(Err(error)) => return End::Broken(describe(&error)),
                Err(_) => return End::Broken("the server does not answer".to_owned()),
            },
        }
    }
}

/// A message and whatever else is there already, so that a burst costs one read. What was gathered before a connection broke needs no
/// telling: everything will be read.
async fn gather(wire: &mut Wire, first: AsyncMessage) -> Result<Option<Heard>, End> {
    let (mut ids, mut everything, mut taken) = (Vec::new(), false, 0);
    let mut message = Some(first);
    while let Some(heard) = message {
        match payload(&heard).filter(|payload| !payload.starts_with(PROBE)) {
            None => {}
            Some(payload) => match serde_json::from_str::<Vec<String>>(payload) {
                Ok(more) if payload != EVERYTHING => ids.extend(more),
                // Whatever it means, something changed.
                Ok(_) | Err(_) => everything = true,
            },
        }
        taken += 1;
        message = if taken == MAX_GATHERED { None } else { at_hand(wire).await? };
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(if everything { Some(Heard::Everything) } else { (!ids.is_empty()).then_some(Heard::Rows(ids)) })
}

fn payload(message: &AsyncMessage) -> Option<&str> {
    match message {
        AsyncMessage::Notification(heard) if heard.channel() == CHANNEL => Some(heard.payload()),
        _ => None,
    }
}
