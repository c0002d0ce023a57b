//! The listener: a dedicated connection that receives change notifications and verifies that they
//! arrive.
//!
//! The order at every connect is fixed. First LISTEN and its response; then a probe, sent over
//! another connection, which must arrive; only then [`ChangeHint::Listening`]. A snapshot taken
//! before that would miss changes. The connection never runs a transaction: an open one would keep
//! the server's queue from shrinking until writers fail.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_postgres::AsyncMessage;

use crate::change_hint::{CHANNEL, HintBatch, is_probe};
use crate::notification_stream::{
    DisconnectCause, NotificationStream, RECONNECTS, connect_and_verify, reconnect_pause,
};
use crate::notify_queue::QueueMonitor;
use crate::pool::Database;
use crate::trigger_health::TriggerHealth;
use latido_base::drain::Drain;
use latido_base::sleep::SleepingConnection;
use latido_stream::{Catalog, ChangeHint};
use latido_telemetry::Metrics;

/// The pause before retrying a connection that accepts LISTEN but delivers nothing (a transaction
/// pooler).
const NOT_DELIVERING_PAUSE: Duration = Duration::from_secs(60);

/// The shortest lifetime of a connection that resets the reconnect pause.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// The largest number of messages taken from a busy connection before they are forwarded.
const MAX_BATCH_MESSAGES: usize = 4096;

/// The state of the notification connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerState {
    /// Connecting, for the first time or again; notifications do not arrive.
    Connecting,
    /// Notifications arrive, which a probe has verified.
    Listening,
    /// LISTEN works but nothing arrives, see [`ChangeHint::NotDelivering`].
    NotDelivering,
    /// The connection is closed because nobody watches anything.
    Asleep,
}

/// The receiver of change hints.
type HintCallback = Arc<dyn Fn(ChangeHint) + Send + Sync>;

/// A handle to the running listener. Clones share it.
#[derive(Debug, Clone)]
pub struct NotificationListener {
    state: watch::Receiver<ListenerState>,
    queue_has_room: watch::Receiver<bool>,
    trigger_health: TriggerHealth,
}

impl NotificationListener {
    /// Starts to listen on the server's channel and on those of apps, until the server stops. One
    /// task calls `sink`, in order; it must not block. A second task calls it while the server's
    /// notification queue is filling.
    pub fn start<S>(
        database: &Database,
        catalog: &Arc<Catalog>,
        app_channels: &[&'static str],
        metrics: &Arc<Metrics>,
        drain: &Drain,
        sink: S,
    ) -> Self
    where
        S: Fn(ChangeHint) + Send + Sync + 'static,
    {
        let (state_tx, state) = watch::channel(ListenerState::Connecting);
        let (has_room, queue_has_room) = watch::channel(true);
        let trigger_health = TriggerHealth::default();
        let sink: HintCallback = Arc::new(sink);
        let task = ListenerTask {
            database: database.clone(),
            catalog: catalog.clone(),
            app_channels: app_channels.to_vec(),
            metrics: metrics.clone(),
            trigger_health: trigger_health.clone(),
            state: state_tx,
            sink: Arc::clone(&sink),
        };
        drain.spawn_until_stop(task.run());
        let monitor = QueueMonitor {
            database: database.clone(),
            metrics: Arc::clone(metrics),
            has_room,
            report_delivery: delivery_reporter(state.clone(), sink),
        };
        drain.spawn_until_stop(monitor.run());
        Self {
            state,
            queue_has_room,
            trigger_health,
        }
    }

    /// Returns the current state of the listener.
    pub fn state(&self) -> ListenerState {
        *self.state.borrow()
    }

    /// Returns a receiver of the state and its changes.
    pub fn watch_state(&self) -> watch::Receiver<ListenerState> {
        self.state.clone()
    }

    /// Returns the health of the triggers, which this listener and whoever inspects them report to.
    pub fn trigger_health(&self) -> &TriggerHealth {
        &self.trigger_health
    }

    /// Returns a receiver of whether the server's notification queue has room. Without room,
    /// writers should send nothing.
    pub fn watch_queue(&self) -> watch::Receiver<bool> {
        self.queue_has_room.clone()
    }
}

/// Returns a function that reports whether writers notify. A listener that is not connected has
/// reported that already.
fn delivery_reporter(
    state: watch::Receiver<ListenerState>,
    sink: HintCallback,
) -> Box<dyn Fn(bool) + Send + Sync> {
    Box::new(move |is_delivering| {
        if *state.borrow() == ListenerState::Listening {
            sink(if is_delivering {
                ChangeHint::Listening
            } else {
                ChangeHint::NotDelivering
            });
        }
    })
}

/// The task that runs the connection of a [`NotificationListener`].
struct ListenerTask {
    database: Database,
    catalog: Arc<Catalog>,
    app_channels: Vec<&'static str>,
    metrics: Arc<Metrics>,
    trigger_health: TriggerHealth,
    state: watch::Sender<ListenerState>,
    sink: HintCallback,
}

impl ListenerTask {
    /// Runs the connection while the database does not sleep. Nobody is told that it sleeps: there is
    /// nobody who watches.
    async fn run(self) {
        let sleep = self.database.sleep();
        loop {
            sleep.until_awake().await;
            tokio::select! {
                () = self.run_awake() => {}
                () = sleep.until_closed(SleepingConnection::Listener) => {}
            }
            self.metrics.listener_up.set(0);
            self.state.send_replace(ListenerState::Asleep);
        }
    }

    async fn run_awake(&self) {
        let mut backoff = RECONNECTS;
        let mut is_logged = false;
        loop {
            let started = Instant::now();
            let cause = self.run_connection().await;
            let was_listening = *self.state.borrow() == ListenerState::Listening;
            self.metrics.listener_reconnects.inc();
            self.database.sleep().wake_failed();
            if was_listening && started.elapsed() >= STABLE_AFTER {
                backoff = RECONNECTS;
            }
            let pause = match cause {
                DisconnectCause::Broken(reason) => {
                    self.on_lost(was_listening, is_logged, &reason);
                    is_logged = true;
                    reconnect_pause(&mut backoff)
                }
                DisconnectCause::NotDelivering => {
                    self.on_not_delivering();
                    NOT_DELIVERING_PAUSE
                }
            };
            sleep(pause).await;
        }
    }

    /// Logs the loss once, not at every attempt. A state of «not delivering» stays visible from
    /// outside even if the server cannot be reached any more.
    fn on_lost(&self, was_listening: bool, is_logged: bool, reason: &str) {
        if was_listening {
            tracing::warn!(
                reason,
                "notifications from the database stopped; connecting again"
            );
            self.set_state(ListenerState::Connecting, ChangeHint::Lost);
        } else if is_logged {
            tracing::debug!(reason, "still cannot listen to the database");
        } else {
            tracing::warn!(reason, "cannot listen to the database yet; retrying");
        }
    }

    fn on_not_delivering(&self) {
        if *self.state.borrow() == ListenerState::NotDelivering {
            return;
        }
        tracing::warn!(
            retry_s = NOT_DELIVERING_PAUSE.as_secs(),
            "LISTEN succeeds but notifications never arrive: a transaction pooler answers here, or the two URLs lead to different \
             databases; set LISTEN_DATABASE_URL to the server itself. Until then only the hook and the sweep find changes"
        );
        self.set_state(ListenerState::NotDelivering, ChangeHint::NotDelivering);
    }

    fn set_state(&self, state: ListenerState, notice: ChangeHint) {
        self.metrics
            .listener_up
            .set(i64::from(state == ListenerState::Listening));
        self.state.send_replace(state);
        (self.sink)(notice);
    }

    async fn run_connection(&self) -> DisconnectCause {
        let mut stream = match connect_and_verify(&self.database, &self.channels()).await {
            Ok(stream) => stream,
            Err(cause) => return cause,
        };
        // The sink declares the interest in watched keys again here, before everything is read
        // again.
        tracing::info!("listening to the database");
        self.set_state(ListenerState::Listening, ChangeHint::Listening);
        let sleep = self.database.sleep();
        sleep.opened(SleepingConnection::Listener);
        loop {
            let forwarded = match stream.next_message().await {
                Ok(message) => self.forward(&mut stream, message).await,
                Err(cause) => Err(cause),
            };
            if let Err(cause) = forwarded {
                return cause;
            }
        }
    }

    /// Returns the channels to LISTEN on: the server's own, and those of apps.
    fn channels(&self) -> Vec<&'static str> {
        let apps = self.app_channels.iter().copied();
        std::iter::once(CHANNEL).chain(apps).collect()
    }

    /// Adds a notification to the batch, if its channel is known.
    fn add(&self, batch: &mut HintBatch, channel: &str, payload: &str) {
        if channel == CHANNEL {
            batch.add(&self.catalog, payload);
        } else if let Some(app) = self.app_channels.iter().find(|app| **app == channel) {
            batch.add_payload(app, payload);
        }
    }

    /// Forwards a message and all others that are pending, so that a burst becomes one batch of
    /// hints.
    async fn forward(
        &self,
        stream: &mut NotificationStream,
        first: AsyncMessage,
    ) -> Result<(), DisconnectCause> {
        let mut batch = HintBatch::default();
        let mut message = Ok(Some(first));
        let mut taken = 0;
        while let Ok(Some(received)) = &message {
            if let AsyncMessage::Notification(notification) = received
                && !is_probe(notification.payload())
            {
                self.add(&mut batch, notification.channel(), notification.payload());
            }
            taken += 1;
            message = if taken == MAX_BATCH_MESSAGES {
                Ok(None)
            } else {
                stream.try_next().await
            };
        }
        for failure in batch.take_failures() {
            let stream = &self.catalog.get(failure.stream).name;
            self.trigger_health.record(failure, stream, &self.metrics);
        }
        batch.into_hints().into_iter().for_each(&*self.sink);
        message.map(drop)
    }
}

impl fmt::Debug for ListenerTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear")
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
