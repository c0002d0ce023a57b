//! The connection that holds the locks, and another one that waits for locks that were not free at
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::lock_hash::LOCK_CLASS;
use super::shared::WatchLocksShared;
use crate::connect::DedicatedConnection;
use crate::error::DatabaseError;
use crate::sqlstate::QUERY_CANCELED;
use crate::{Database, ListenerState};
use latido_base::backoff::Jitter;
use latido_base::sleep::SleepingConnection;
use latido_stream::WatchLockEvent;
use latido_telemetry::Metrics;

/// The time-out of a statement on the lock connection: none of them waits for a lock.
const LOCK_STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// The interval of the empty queries that check an idle connection.
const LOCK_PING_INTERVAL: Duration = Duration::from_secs(2);
/// The longest wait for the silent writers of one bucket or of one gate, in milliseconds, before the
/// next one is tried.
const LOCK_WAIT_MS: u64 = 250;
/// The average pause before connecting again; jitter makes it half to one and a half times as long.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The task that takes and releases the locks; see [`crate::watch_locks`].
pub(super) struct LockHolder {
    pub(super) shared: Arc<WatchLocksShared>,
    pub(super) database: Database,
    pub(super) listener_state: watch::Receiver<ListenerState>,
    /// `false` while writers must be silent, because the server's notification queue is filling.
    pub(super) queue_has_room: watch::Receiver<bool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sink: Box<dyn Fn(WatchLockEvent) + Send + Sync>,
}

/// A wait for the silent writers of these locks to end, if one is under way.
type PendingLockWait =
    Option<BoxFuture<'static, (Vec<i32>, Result<DedicatedConnection, DatabaseError>)>>;

impl LockHolder {
    /// Holds the locks while the database does not sleep. Nobody is told that they are released:
    /// there is nobody who watches.
    pub(super) async fn run(mut self) {
        let sleep = self.database.sleep().clone();
        loop {
            sleep.until_awake().await;
            tokio::select! {
                () = self.run_awake() => return,
                () = sleep.until_closed(SleepingConnection::WatchLocks) => {}
            }
            self.shared.is_connected.send_replace(false);
            self.release_all();
        }
    }

    /// Takes the locks, again after each loss. Returns when the server stops.
    async fn run_awake(&mut self) {
        loop {
            if !*self.queue_has_room.borrow() {
                // Reads need not wait for locks that must not be taken.
                self.database.sleep().wake_failed();
            }
            let is_listening = |state: &ListenerState| *state == ListenerState::Listening;
            let has_room = |has_room: &bool| *has_room;
            if self.queue_has_room.wait_for(has_room).await.is_err()
                || self.listener_state.wait_for(is_listening).await.is_err()
            {
                return;
            }
            let reason = match self.hold_locks().await {
                Ok(reason) => reason.to_owned(),
                Err(error) => error.to_string(),
            };
            if self.shared.is_connected.send_replace(false) {
                tracing::warn!(
                    reason,
                    "the declared interest in watched keys was lost; declaring it again"
                );
                (self.sink)(WatchLockEvent::Lost);
            } else {
                tracing::debug!(
                    reason,
                    "the interest in watched keys could not be declared; retrying"
                );
            }
            self.release_all();
            self.database.sleep().wake_failed();
            sleep(Jitter::AROUND.apply(RETRY_PAUSE, fastrand::f64())).await;
        }
    }

    /// Counts every lock as lost, like the server does when the connection ends.
    fn release_all(&self) {
        self.shared.lock().mark_all_lost();
        self.update_gauges();
    }

    /// Holds locks until the connection is lost, or until they must not be held any more. Returns
    /// the reason for that.
    async fn hold_locks(&mut self) -> Result<&'static str, DatabaseError> {
        let holder = self.database.open_dedicated_direct().await?;
        query_ints(&holder, "SET idle_session_timeout = 0")
            .await
            .or_else(accept_unknown_setting)?;
        self.shared.is_connected.send_replace(true);
        let (mut waiter, mut waiting): (Option<DedicatedConnection>, PendingLockWait) =
            (None, None);
        let mut turn = 0;
        loop {
            self.lock_missing(&holder).await?;
            self.database.sleep().opened(SleepingConnection::WatchLocks);
            self.unlock_idle(&holder).await?;
            if waiting.is_none() {
                waiting = self.start_wait(&mut waiter, &mut turn);
            }
            self.update_gauges();
            let idle = self.shared.lock().next_unlock_at();
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep_until(idle) => {}
                // The waiter's shared locks keep new silent writers out until the holder has its
                // own locks.
                (locks, connection) = wait_result(&mut waiting) => {
                    waiting = None;
                    waiter = self.on_wait_done(&holder, &locks, connection).await?;
                }
                () = sleep(LOCK_PING_INTERVAL) => drop(query_ints(&holder, "").await?),
                changed = self.listener_state.changed() => {
                    if changed.is_err() || *self.listener_state.borrow_and_update() == ListenerState::NotDelivering {
                        return Ok("the connection to the database is no longer a direct one");
                    }
                }
                changed = self.queue_has_room.changed() => {
                    if changed.is_err() || !*self.queue_has_room.borrow_and_update() {
                        return Ok("the notification queue is filling, so writers must be silent");
                    }
                }
            }
        }
    }

    /// Tries every lock that is wanted and not held.
    async fn lock_missing(&self, holder: &DedicatedConnection) -> Result<(), DatabaseError> {
        let missing = self.shared.lock().missing();
        if missing.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT b FROM pg_catalog.unnest({}) AS b WHERE pg_catalog.pg_try_advisory_lock_shared({LOCK_CLASS}, b)",
            array_sql(&missing)
        );
        let held = query_ints(holder, &sql).await?;
        let events = self.shared.mark_held(&held, Instant::now());
        events.into_iter().for_each(&self.sink);
        Ok(())
    }

    async fn unlock_idle(&self, holder: &DedicatedConnection) -> Result<(), DatabaseError> {
        let idle = self.shared.lock().take_idle(Instant::now());
        if idle.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT 0 FROM pg_catalog.unnest({}) AS b WHERE pg_catalog.pg_advisory_unlock_shared({LOCK_CLASS}, b)",
            array_sql(&idle)
        );
        query_ints(holder, &sql).await.map(drop)
    }

    /// Starts a wait for the missing locks whose turn it is.
    fn start_wait(
        &self,
        waiter: &mut Option<DedicatedConnection>,
        turn: &mut usize,
    ) -> PendingLockWait {
        let locks = self.shared.lock().locks_of_turn(*turn);
        if locks.is_empty() {
            return None;
        }
        *turn = turn.wrapping_add(1);
        let (connection, database) = (waiter.take(), self.database.clone());
        Some(Box::pin(async move {
            let connection = wait_for_locks(connection, database, &locks).await;
            (locks, connection)
        }))
    }

    /// Handles the end of a wait: the holder can take the locks that the waiter has. After a time-out
    /// these are the locks before the one that was not free.
    async fn on_wait_done(
        &self,
        holder: &DedicatedConnection,
        locks: &[i32],
        connection: Result<DedicatedConnection, DatabaseError>,
    ) -> Result<Option<DedicatedConnection>, DatabaseError> {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "could not wait for silent writers; retrying");
                sleep(RETRY_PAUSE).await;
                return Ok(None);
            }
        };
        if self.shared.lock().is_missing(locks) {
            self.lock_missing(holder).await?;
        }
        let unlock = "SELECT 0 FROM (SELECT pg_catalog.pg_advisory_unlock_all()) AS u";
        Ok(query_ints(&connection, unlock)
            .await
            .ok()
            .map(|_| connection))
    }

    fn update_gauges(&self) {
        let (held, missing) = self.shared.lock().counts();
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.interest_held.set(as_i64(held));
        self.metrics.interest_missing.set(as_i64(missing));
    }
}

/// Waits for shared locks, one after the other, up to the time-out. One entry in a lock's wait queue
/// is enough to make new writers notify. Session locks stay when the statement fails.
async fn wait_for_locks(
    connection: Option<DedicatedConnection>,
    database: Database,
    locks: &[i32],
) -> Result<DedicatedConnection, DatabaseError> {
    let connection = match connection {
        Some(connection) => connection,
        None => database.open_dedicated_direct().await?,
    };
    let sql = format!(
        "SET statement_timeout = {LOCK_WAIT_MS}; \
         SELECT 0 FROM (SELECT pg_catalog.pg_advisory_lock_shared({LOCK_CLASS}, b) FROM pg_catalog.unnest({}) AS b) AS l",
        array_sql(locks)
    );
    match query_ints(&connection, &sql).await {
        Ok(_) => Ok(connection),
        // The wait timed out; the connection is still usable.
        Err(error) if error.sqlstate() == Some(QUERY_CANCELED) => Ok(connection),
        Err(error) => Err(error),
    }
}

/// Returns SQL for an array of locks.
fn array_sql(locks: &[i32]) -> String {
    let list: Vec<_> = locks.iter().map(i32::to_string).collect();
    format!("'{{{}}}'::int[]", list.join(","))
}

/// Runs SQL text and returns the integers of its rows.
async fn query_ints(private: &DedicatedConnection, sql: &str) -> Result<Vec<i32>, DatabaseError> {
    let what = "the declaration of interest";
    let result = timeout(LOCK_STATEMENT_TIMEOUT, private.client.simple_query(sql)).await;
    let messages = result
        .map_err(|_| DatabaseError::unavailable("no answer"))?
        .map_err(|error| DatabaseError::from_driver(what, &error))?;
    let integer = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    };
    Ok(messages.iter().filter_map(integer).collect())
}

/// Accepts that PostgreSQL 13 and older have no such setting, and no such time-out.
fn accept_unknown_setting(error: DatabaseError) -> Result<Vec<i32>, DatabaseError> {
    if error.sqlstate() == Some("42704") {
        Ok(Vec::new())
    } else {
        Err(error)
    }
}

/// Resolves when the wait under way ends; never without a wait.
async fn wait_result(
    waiting: &mut PendingLockWait,
) -> (Vec<i32>, Result<DedicatedConnection, DatabaseError>) {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
