//! The listener: one connection of its own that hears what changed, and knows whether it hears at all.
//!
//! Order at every connect: LISTEN and its answer; a notification of our own, sent over another connection, that must arrive; only
//! then [`Notice::Listening`]. A snapshot taken before that would miss changes. The connection never runs a transaction: an open
//! one would pin the server's queue until writers fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_postgres::AsyncMessage;

use crate::drain::Drain;
use crate::postgres::hearing::{Backoff, End, Line, rehearse};
use crate::postgres::notice::{CHANNEL, Gathered, Notice, is_probe};
use crate::postgres::pool::Database;
use crate::stream::Catalog;
use crate::telemetry::Metrics;

/// How long to leave a deaf road alone.
const DEAF_PAUSE: Duration = Duration::from_secs(60);

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
    pub fn start<S>(
        database: &Database,
        catalog: &Arc<Catalog>,
        metrics: &Arc<Metrics>,
        drain: &Drain,
        sink: S,
    ) -> Self
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
            tracing::warn!(
                reason,
                "notifications from the database stopped; connecting again"
            );
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
        self.metrics
            .listener_up
            .set(i64::from(state == ListenerState::Listening));
        self.state.send_replace(state);
        (self.sink)(notice);
    }

    async fn connection(&self) -> End {
        let mut line = match rehearse(&self.database, CHANNEL).await {
            Ok(line) => line,
            Err(end) => return end,
        };
        // The interest in watched keys is to be declared again here, before everything is read again.
        tracing::info!("listening to the database");
        self.enter(ListenerState::Listening, Notice::Listening);
        loop {
            let passed = match line.next().await {
                Ok(message) => self.pass_on(&mut line, message).await,
                Err(end) => Err(end),
            };
            if let Err(end) = passed {
                return end;
            }
        }
    }

    /// Takes whatever else is there already, so that a burst costs one notice.
    async fn pass_on(&self, line: &mut Line, first: AsyncMessage) -> Result<(), End> {
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
            message = if taken == MAX_GATHERED {
                Ok(None)
            } else {
                line.at_hand().await
            };
        }
        gathered.into_notices().into_iter().for_each(&self.sink);
        message.map(drop)
    }
}

/// The queue is the whole server's: some other client that never reads can fill it.
async fn watch_queue(database: Database, usage: Arc<AtomicU64>) {
    let mut due = interval(QUEUE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let answer = database
            .query(
                "the queue's level",
                "SELECT pg_catalog.pg_notification_queue_usage()",
                &[],
            )
            .await;
        let Some(level) = answer
            .ok()
            .and_then(|rows| rows.first()?.try_get::<_, f64>(0).ok())
        else {
            continue;
        };
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
        f.debug_struct("Ear")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
