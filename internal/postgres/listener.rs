//! The listener: one connection of its own that hears what changed, and knows whether it hears at all.
//!
//! Order at every connect: LISTEN and its answer; a notification of our own, sent over another connection, that must arrive; only
//! then [`Notice::Listening`]. A snapshot taken before that would miss changes. The connection never runs a transaction: an open
//! one would pin the server's queue until writers fail.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client};

use crate::drain::Drain;
use crate::postgres::connect::Wire;
use crate::postgres::error::{DatabaseError, describe};
use crate::postgres::notice::{CHANNEL, Gathered, Notice, is_probe, probe};
use crate::postgres::pool::Database;
use crate::stream::Catalog;
use crate::telemetry::Metrics;

/// Time between two empty queries, and the time that each may take: a server that is stuck shows after both.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_LIMIT: Duration = Duration::from_secs(2);

/// How long a probe may take before another one is sent; after the second the connection counts as deaf.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
const PROBES: usize = 2;

/// How long to leave a deaf road alone.
const DEAF_PAUSE: Duration = Duration::from_secs(60);

/// The first and the longest pause before connecting again; the true one is between half of it and all of it.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A connection that lived shorter than this does not reset the pause.
const STABLE: Duration = Duration::from_secs(10);

/// How often the fill level of the server's notification queue is read, and what is worth a warning: at 1, writers' commits fail.
const QUEUE_EVERY: Duration = Duration::from_secs(60);
const QUEUE_WARNING: f64 = 0.5;

/// Messages taken from a busy wire before they are passed on.
const MAX_GATHERED: usize = 4096;

/// Whether notifications arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    /// Not yet, or not any more: trying.
    Connecting,
    /// Yes, and that was tested.
    Listening,
    /// LISTEN works but nothing arrives: see [`Notice::Deaf`].
    Deaf,
}

/// A running listener, seen from outside. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    state: watch::Receiver<ListenerState>,
    queue_usage: Arc<AtomicU64>,
}

impl Listener {
    /// Starts to listen, for as long as the server runs. `sink` is called from one task, in order, and must not block.
    pub fn start<S>(database: &Database, catalog: &Arc<Catalog>, metrics: &Arc<Metrics>, drain: &Drain, sink: S) -> Self
    where
        S: Fn(Notice) + Send + Sync + 'static,
    {
        let (state_tx, state) = watch::channel(ListenerState::Connecting);
        let queue_usage = Arc::new(AtomicU64::new(0));
        let ear = Ear {
            database: database.clone(),
            catalog: catalog.clone(),
            metrics: metrics.clone(),
            state: state_tx,
            sink: Box::new(sink),
        };
        drain.spawn_until_stop(ear.run());
        drain.spawn_until_stop(watch_queue(database.clone(), queue_usage.clone()));
        Self { state, queue_usage }
    }

    /// Whether notifications arrive now.
    pub fn state(&self) -> ListenerState {
        *self.state.borrow()
    }

    /// The state and its changes.
    pub fn watch(&self) -> watch::Receiver<ListenerState> {
        self.state.clone()
    }

    /// How full the server's notification queue was at the last look, 0 to 1.
    pub fn queue_usage(&self) -> f64 {
        f64::from_bits(self.queue_usage.load(Ordering::Relaxed))
    }
}

/// The task behind a [`Listener`].
struct Ear {
    database: Database,
    catalog: Arc<Catalog>,
    metrics: Arc<Metrics>,
    state: watch::Sender<ListenerState>,
    sink: Box<dyn Fn(Notice) + Send + Sync>,
}

/// Why a connection was given up.
#[derive(Debug)]
pub(super) enum End {
    /// With what happened.
    Broken(String),
    /// [`Notice::Deaf`]
    Deaf,
}

impl Ear {
    async fn run(self) {
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            let started = Instant::now();
            let end = self.connection().await;
            let heard = *self.state.borrow() == ListenerState::Listening;
            self.metrics.listener_reconnects.inc();
            if heard && started.elapsed() >= STABLE {
                backoff = Backoff::default();
            }
            let pause = match end {
                End::Broken(reason) => {
                    self.lost(heard, told, &reason);
                    told = true;
                    backoff.next()
                }
                End::Deaf => {
                    self.deaf();
                    DEAF_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// One line when it begins, not one for every attempt. What was deaf and now cannot even be reached stays deaf for the outside.
    fn lost(&self, heard: bool, told: bool, reason: &str) {
        if heard {
            tracing::warn!(reason, "notifications from the database stopped; connecting again");
            self.enter(ListenerState::Connecting, Notice::Lost);
        } else if told {
            tracing::debug!(reason, "still cannot listen to the database");
        } else {
            tracing::warn!(reason, "cannot listen to the database yet; trying on");
        }
    }

    fn deaf(&self) {
        if *self.state.borrow() == ListenerState::Deaf {
            return;
        }
        tracing::warn!(
            retry_s = DEAF_PAUSE.as_secs(),
            "LISTEN succeeds but notifications never arrive: a transaction pooler answers here, or the two URLs lead to different \
             databases; set LISTEN_DATABASE_URL to the server itself. Until then only the hook and the sweep find changes"
        );
        self.enter(ListenerState::Deaf, Notice::Deaf);
    }

    fn enter(&self, state: ListenerState, notice: Notice) {
        self.metrics.listener_up.set(i64::from(state == ListenerState::Listening));
        self.state.send_replace(state);
        (self.sink)(notice);
    }

    async fn connection(&self) -> End {
        let (client, wire) = match rehearse(&self.database).await {
            Ok(parts) => parts,
            Err(end) => return end,
        };
        // The interest in watched keys is to be declared again here, before everything is read again.
        tracing::info!("listening to the database");
        self.enter(ListenerState::Listening, Notice::Listening);
        self.listen(Arc::new(client), wire).await
    }

    async fn listen(&self, client: Arc<Client>, mut wire: Wire) -> End {
        let mut ping_due = interval(PING_EVERY);
        ping_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping: Ping = None;
        loop {
            tokio::select! {
                message = next(&mut wire) => match message {
                    Ok(message) => {
                        if let Err(end) = self.pass_on(&mut wire, message).await {
                            return end;
                        }
                    }
                    Err(end) => return end,
                },
                _ = ping_due.tick(), if ping.is_none() => {
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

    /// Takes whatever else is there already, so that a burst costs one notice.
    async fn pass_on(&self, wire: &mut Wire, first: AsyncMessage) -> Result<(), End> {
        let mut gathered = Gathered::default();
        let mut message = Ok(Some(first));
        let mut taken = 0;
        while let Ok(Some(heard)) = &message {
            if let AsyncMessage::Notification(heard) = heard
                && heard.channel() == CHANNEL
                && !is_probe(heard.payload())
            {
                gathered.add(&self.catalog, heard.payload());
            }
            taken += 1;
            message = if taken == MAX_GATHERED { Ok(None) } else { at_hand(wire).await };
        }
        gathered.into_notices().into_iter().for_each(&self.sink);
        message.map(drop)
    }
}

/// Connects, LISTENs, and proves that notifications arrive. What is heard meanwhile needs no telling: everything will be read.
pub(super) async fn rehearse(database: &Database) -> Result<(Client, Wire), End> {
    let endpoint = database.direct();
    let (client, mut wire) = match timeout(endpoint.connect_limit(), endpoint.plain()).await {
        Ok(Ok(parts)) => parts,
        Ok(Err(error)) => return Err(End::Broken(describe(&error))),
        Err(_) => return Err(End::Broken("no connection within the connect time-out".to_owned())),
    };
    let listen = timeout(PROBE_LIMIT, client.batch_execute("LISTEN latido"));
    match alongside(&mut wire, listen).await? {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(End::Broken(describe(&error))),
        Err(_) => return Err(End::Broken("LISTEN was not answered".to_owned())),
    }
    for _ in 0..PROBES {
        if arrives(database, &mut wire).await? {
            return Ok((client, wire));
        }
    }
    // The pooler keeps the server's end, and every listener costs writers; with luck this reaches the same one.
    let _ = alongside(&mut wire, timeout(PROBE_LIMIT, client.batch_execute("UNLISTEN latido"))).await;
    Err(End::Deaf)
}

/// Whether a notification sent over another connection arrives on this one.
async fn arrives(database: &Database, wire: &mut Wire) -> Result<bool, End> {
    let nonce = probe(fastrand::u64(..));
    let mut heard = false;
    {
        let mut send = std::pin::pin!(send(database, &nonce));
        loop {
            tokio::select! {
                sent = &mut send => break sent.map_err(|error| End::Broken(error.to_string()))?,
                message = next(wire) => heard |= is_ours(&message?, &nonce),
            }
        }
    }
    let hear = async {
        while !heard {
            heard = is_ours(&next(wire).await?, &nonce);
        }
        Ok(())
    };
    match timeout(PROBE_LIMIT, hear).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}

async fn send(database: &Database, payload: &str) -> Result<(), DatabaseError> {
    let params: [(&(dyn ToSql + Sync), Type); 2] = [(&CHANNEL, Type::TEXT), (&payload, Type::TEXT)];
    database.query("the probe", "SELECT pg_catalog.pg_notify($1, $2)::text", &params).await.map(drop)
}

pub(super) type Ping =
    Option<Pin<Box<dyn Future<Output = Result<Result<(), tokio_postgres::Error>, tokio::time::error::Elapsed>> + Send>>>;

/// Resolves when the ping under way does; never without one.
pub(super) async fn answered(ping: &mut Ping) -> Result<Result<(), tokio_postgres::Error>, tokio::time::error::Elapsed> {
    match ping {
        Some(ping) => ping.await,
        None => std::future::pending().await,
    }
}

/// The next message of the connection; polling it is also what makes requests and answers move.
pub(super) async fn next(wire: &mut Wire) -> Result<AsyncMessage, End> {
    match poll_fn(|cx| wire.poll_message(cx)).await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(End::Broken(describe(&error))),
        None => Err(End::Broken("connection closed".to_owned())),
    }
}

/// The next message if it is there already.
pub(super) async fn at_hand(wire: &mut Wire) -> Result<Option<AsyncMessage>, End> {
    poll_fn(|cx| match wire.poll_message(cx) {
        Poll::Ready(Some(Ok(message))) => Poll::Ready(Ok(Some(message))),
        Poll::Ready(Some(Err(error))) => Poll::Ready(Err(End::Broken(describe(&error)))),
        Poll::Ready(None) => Poll::Ready(Err(End::Broken("connection closed".to_owned()))),
        Poll::Pending => Poll::Ready(Ok(None)),
    })
    .await
}

/// Awaits what the client asked, while the connection is polled; what arrives meanwhile is dropped.
pub(super) async fn alongside<F: Future>(wire: &mut Wire, request: F) -> Result<F::Output, End> {
    let mut request = std::pin::pin!(request);
    loop {
        tokio::select! {
            answer = &mut request => return Ok(answer),
            message = next(wire) => drop(message?),
        }
    }
}

fn is_ours(message: &AsyncMessage, nonce: &str) -> bool {
    matches!(message, AsyncMessage::Notification(heard) if heard.channel() == CHANNEL && heard.payload() == nonce)
}

/// Doubling pauses with jitter, so that many servers do not come back at once.
#[derive(Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let full = (BACKOFF_MIN * 2u32.saturating_pow(self.0.min(16))).min(BACKOFF_MAX);
        self.0 = self.0.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// The queue is the whole server's: some other client that never reads can fill it.
async fn watch_queue(database: Database, usage: Arc<AtomicU64>) {
    let mut due = interval(QUEUE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let answer = database.query("the queue's level", "SELECT pg_catalog.pg_notification_queue_usage()", &[]).await;
        let Some(level) = answer.ok().and_then(|rows| rows.first()?.try_get::<_, f64>(0).ok()) else { continue };
        // Written here alone; relaxed, since it stands for itself.
        usage.store(level.to_bits(), Ordering::Relaxed);
        if level > QUEUE_WARNING {
            tracing::warn!(
                usage = level,
                "the server's notification queue is filling: some client listens in a long transaction or never reads; at 1 writers fail"
            );
        }
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").field("state", &*self.state.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_no_further() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..100).map(|_| backoff.next()).collect();
        assert!(pauses[0] <= BACKOFF_MIN && pauses[0] >= BACKOFF_MIN / 2);
        assert!(pauses.iter().all(|p| *p <= BACKOFF_MAX) && pauses[99] >= BACKOFF_MAX / 2);
    }
}
