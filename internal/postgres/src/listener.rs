//! The listener: a dedicated connection that receives change notifications and verifies that they
//! arrive.
//!
//! The order at every connect is fixed. First LISTEN and its response; then a probe, sent over
//! another connection, which must arrive; only then [`ChangeHint::Listening`]. A snapshot taken
//! before that would miss changes. The connection never runs a transaction: an open one would keep
//! the server's queue from shrinking until writers fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_postgres::AsyncMessage;

use crate::hearing::{Backoff, End, Line, rehearse};
use crate::notice::{CHANNEL, Gathered, Notice, is_probe};
use crate::pool::Database;
use latido_base::drain::Drain;
use latido_stream::Catalog;
use latido_telemetry::Metrics;

/// The pause before retrying a connection that accepts LISTEN but delivers nothing (a transaction
/// pooler).
const DEAF_PAUSE: Duration = Duration::from_secs(60);

/// The shortest lifetime of a connection that resets the reconnect pause.
const STABLE: Duration = Duration::from_secs(10);

/// The interval of reading the fill level of the server's notification queue, and the level that is
/// worth a warning. At level 1, writers' commits fail.
const QUEUE_EVERY: Duration = Duration::from_secs(60);
const QUEUE_WARNING: f64 = 0.5;

/// The largest number of messages taken from a busy connection before they are forwarded.
const MAX_GATHERED: usize = 4096;

/// The state of the notification connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    /// Connecting, for the first time or again; notifications do not arrive.
    Connecting,
    /// Notifications arrive, which a probe has verified.
    Listening,
    /// LISTEN works but nothing arrives, see [`ChangeHint::NotDelivering`].
    Deaf,
}

/// A handle to the running listener. Clones share it.
#[derive(Debug, Clone)]
pub struct Listener {
    state: watch::Receiver<ListenerState>,
    queue_usage: Arc<AtomicU64>,
}

impl Listener {
    /// Starts to listen, until the server stops. One task calls `sink`, in order; it must not
    /// block.
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
        let task = Ear {
            database: database.clone(),
            catalog: catalog.clone(),
            metrics: metrics.clone(),
            state: state_tx,
            sink: Box::new(sink),
        };
        drain.spawn_until_stop(task.run());
        drain.spawn_until_stop(watch_queue(database.clone(), queue_usage.clone()));
        Self { state, queue_usage }
    }

    /// Returns the current state of the listener.
    pub fn state(&self) -> ListenerState {
        *self.state.borrow()
    }

    /// Returns a receiver of the state and its changes.
    pub fn watch(&self) -> watch::Receiver<ListenerState> {
        self.state.clone()
    }

    /// Returns the last known fill level of the server's notification queue, from 0 to 1.
    pub fn queue_usage(&self) -> f64 {
        f64::from_bits(self.queue_usage.load(Ordering::Relaxed))
    }
}

/// The task that runs the connection of a [`NotificationListener`].
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
        let mut is_logged = false;
        loop {
            let started = Instant::now();
            let cause = self.connection().await;
            let was_listening = *self.state.borrow() == ListenerState::Listening;
            self.metrics.listener_reconnects.inc();
            if was_listening && started.elapsed() >= STABLE {
                backoff = Backoff::default();
            }
            let pause = match cause {
                End::Broken(reason) => {
                    self.lost(was_listening, is_logged, &reason);
                    is_logged = true;
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

    /// Logs the loss once, not at every attempt. A state of «not delivering» stays visible from
    /// outside even if the server cannot be reached any more.
    fn lost(&self, was_listening: bool, is_logged: bool, reason: &str) {
        if was_listening {
            tracing::warn!(
                reason,
                "notifications from the database stopped; connecting again"
            );
            self.enter(ListenerState::Connecting, Notice::Lost);
        } else if is_logged {
            tracing::debug!(reason, "still cannot listen to the database");
        } else {
            tracing::warn!(reason, "cannot listen to the database yet; retrying");
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
        let mut stream = match rehearse(&self.database, CHANNEL).await {
            Ok(stream) => stream,
            Err(cause) => return cause,
        };
        // The sink declares the interest in watched keys again here, before everything is read
        // again.
        tracing::info!("listening to the database");
        self.enter(ListenerState::Listening, Notice::Listening);
        loop {
            let forwarded = match stream.next().await {
                Ok(message) => self.pass_on(&mut stream, message).await,
                Err(cause) => Err(cause),
            };
            if let Err(cause) = forwarded {
                return cause;
            }
        }
    }

    /// Forwards a message and all others that are pending, so that a burst becomes one batch of
    /// hints.
    async fn pass_on(&self, stream: &mut Line, first: AsyncMessage) -> Result<(), End> {
        let mut batch = Gathered::default();
        let mut message = Ok(Some(first));
        let mut taken = 0;
        while let Ok(Some(received)) = &message {
            if let AsyncMessage::Notification(notification) = received
                && notification.channel() == CHANNEL
                && !is_probe(notification.payload())
            {
                batch.add(&self.catalog, notification.payload());
            }
            taken += 1;
            message = if taken == MAX_GATHERED {
                Ok(None)
            } else {
                stream.at_hand().await
            };
        }
        batch.into_notices().into_iter().for_each(&self.sink);
        message.map(drop)
    }
}

/// Watches the notification queue. It belongs to the whole server, so any client that never reads
/// can fill it.
async fn watch_queue(database: Database, usage: Arc<AtomicU64>) {
    let mut due = interval(QUEUE_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let result = database
            .query(
                "the queue's level",
                "SELECT pg_catalog.pg_notification_queue_usage()",
                &[],
            )
            .await;
        let Some(level) = result
            .ok()
            .and_then(|rows| rows.first()?.try_get::<_, f64>(0).ok())
        else {
            continue;
        };
        // Only this task writes the value. Relaxed: no other data depends on it.
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
