//! The connection that holds the locks, and another one that waits for locks that were not free at
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::connect::Private;
use crate::error::DatabaseError;
use crate::interest::{CLASS, Declared, Shared};
use crate::{Database, ListenerState};
use latido_telemetry::Metrics;

/// The time-out of a statement on the lock connection: none of them waits for a lock.
const LIMIT: Duration = Duration::from_secs(3);
/// The interval of the empty queries that check an idle connection.
const PING_EVERY: Duration = Duration::from_secs(2);
/// The longest wait for the silent writers of one bucket, in milliseconds, before the next bucket
/// is tried.
const PATIENCE_MS: u64 = 250;
/// The average pause before connecting again; jitter makes it half to one and a half times as long.
const RETRY: Duration = Duration::from_millis(200);

/// The task that takes and releases the locks; see [`crate::watch_locks`].
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) database: Database,
    pub(super) listening: watch::Receiver<ListenerState>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sink: Box<dyn Fn(Declared) + Send + Sync>,
}

/// A wait for the silent writers of one bucket to end, if one is under way.
type Waiting = Option<BoxFuture<'static, (i32, Result<Private, DatabaseError>)>>;

impl Keeper {
    pub(super) async fn run(mut self) {
        loop {
            if self
                .listening
                .wait_for(|state| *state == ListenerState::Listening)
                .await
                .is_err()
            {
                return;
            }
            let reason = match self.hold().await {
                Ok(()) => "the connection to the database is no longer a direct one".to_owned(),
                Err(error) => error.to_string(),
            };
            if self.shared.up.send_replace(false) {
                tracing::warn!(
                    reason,
                    "the declared interest in watched keys was lost; declaring it again"
                );
                (self.sink)(Declared::Lost);
            } else {
                tracing::debug!(
                    reason,
                    "the interest in watched keys could not be declared; retrying"
                );
            }
            self.shared.lock().lost();
            self.count();
            sleep(RETRY.mul_f64(0.5 + fastrand::f64())).await;
        }
    }

    /// Holds locks until the connection is lost, or proves not to be a direct one.
    async fn hold(&mut self) -> Result<(), DatabaseError> {
        let holder = self.database.private_direct().await?;
        ask(&holder, "SET idle_session_timeout = 0")
            .await
            .or_else(unknown_setting)?;
        self.shared.up.send_replace(true);
        let (mut waiter, mut waiting): (Option<Private>, Waiting) = (None, None);
        let mut turn = 0;
        loop {
            self.take(&holder).await?;
            self.give_back(&holder).await?;
            if waiting.is_none() {
                waiting = self.next_wait(&mut waiter, &mut turn);
            }
            self.count();
            let idle = self.shared.lock().next_idle();
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep_until(idle) => {}
                // The waiter's shared lock keeps new silent writers out until the holder has its
                // own lock.
                (bucket, connection) = finished(&mut waiting) => {
                    waiting = None;
                    waiter = self.waited(&holder, bucket, connection).await?;
                }
                () = sleep(PING_EVERY) => drop(ask(&holder, "").await?),
                changed = self.listening.changed() => {
                    if changed.is_err() || *self.listening.borrow_and_update() == ListenerState::Deaf {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tries every lock that is wanted and not held.
    async fn take(&self, holder: &Private) -> Result<(), DatabaseError> {
        let missing = self.shared.lock().missing();
        if missing.is_empty() {
            return Ok(());
        }
        let list = missing
            .iter()
            .map(i32::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let sql = format!(
            "SELECT b FROM unnest('{{{list}}}'::int[]) AS b WHERE pg_catalog.pg_try_advisory_lock_shared({CLASS}, b)"
        );
        let held = ask(holder, &sql).await?;
        let mut wanted = self.shared.lock();
        let now = Instant::now();
        let mut topics = Vec::new();
        for bucket in held {
            topics.append(&mut wanted.held(bucket, now));
        }
        drop(wanted);
        self.armed(topics);
        Ok(())
    }

    fn armed(&self, topics: Vec<latido_base::ident::Topic>) {
        if !topics.is_empty() {
            (self.sink)(Declared::Armed(topics));
        }
    }

    async fn give_back(&self, holder: &Private) -> Result<(), DatabaseError> {
        let idle = self.shared.lock().take_idle(Instant::now());
        if idle.is_empty() {
            return Ok(());
        }
        let list = idle
            .iter()
            .map(i32::to_string)
            .collect::<Vec<_>>()
            .join(",");
        let sql = format!(
            "SELECT 0 FROM unnest('{{{list}}}'::int[]) AS b WHERE pg_catalog.pg_advisory_unlock_shared({CLASS}, b)"
        );
        ask(holder, &sql).await.map(drop)
    }

    /// Starts a wait for one of the missing buckets. They take turns, since a long transaction must
    /// not delay other buckets.
    fn next_wait(&self, waiter: &mut Option<Private>, turn: &mut usize) -> Waiting {
        let mut missing = self.shared.lock().missing();
        missing.sort_unstable();
        let bucket = *missing.get(*turn % missing.len().max(1))?;
        *turn = turn.wrapping_add(1);
        let (connection, database) = (waiter.take(), self.database.clone());
        Some(Box::pin(async move {
            (bucket, wait(connection, database, bucket).await)
        }))
    }

    /// Handles the end of a wait: if the waiter has the lock, the holder can take it too.
    async fn waited(
        &self,
        holder: &Private,
        bucket: i32,
        connection: Result<Private, DatabaseError>,
    ) -> Result<Option<Private>, DatabaseError> {
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%error, "could not wait for silent writers; retrying");
                sleep(RETRY).await;
                return Ok(None);
            }
        };
        if self.shared.lock().is_missing(bucket) {
            self.take(holder).await?;
        }
        let unlock =
            format!("SELECT 0 WHERE pg_catalog.pg_advisory_unlock_shared({CLASS}, {bucket})");
        Ok(ask(&connection, &unlock).await.ok().map(|_| connection))
    }

    fn count(&self) {
        let (held, missing) = self.shared.lock().counts();
        let as_i64 = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.interest_held.set(as_i64(held));
        self.metrics.interest_missing.set(as_i64(missing));
    }
}

/// Waits for a bucket's shared lock, up to the time-out. One entry in the lock's wait queue is
/// enough to make new writers notify.
async fn wait(
    connection: Option<Private>,
    database: Database,
    bucket: i32,
) -> Result<Private, DatabaseError> {
    let connection = match connection {
        Some(connection) => connection,
        None => database.private_direct().await?,
    };
    let sql = format!(
        "SET lock_timeout = {PATIENCE_MS}; SELECT 0 FROM (SELECT pg_catalog.pg_advisory_lock_shared({CLASS}, {bucket})) AS l"
    );
    match ask(&connection, &sql).await {
        Ok(_) => Ok(connection),
        // The wait timed out; the connection is still usable.
        Err(error) if error.sqlstate() == Some("55P03") => Ok(connection),
        Err(error) => Err(error),
    }
}

/// Runs SQL text and returns the integers of its rows.
async fn ask(private: &Private, sql: &str) -> Result<Vec<i32>, DatabaseError> {
    let what = "the declaration of interest";
    let result = timeout(LIMIT, private.client.simple_query(sql)).await;
    let messages = result
        .map_err(|_| DatabaseError::unavailable("no answer"))?
        .map_err(|error| DatabaseError::of(what, &error))?;
    let integer = |message: &tokio_postgres::SimpleQueryMessage| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    };
    Ok(messages.iter().filter_map(integer).collect())
}

/// Accepts that PostgreSQL 13 and older have no such setting, and no such time-out.
fn unknown_setting(error: DatabaseError) -> Result<Vec<i32>, DatabaseError> {
    if error.sqlstate() == Some("42704") {
        Ok(Vec::new())
    } else {
        Err(error)
    }
}

/// Resolves when the wait under way ends; never without a wait.
async fn finished(waiting: &mut Waiting) -> (i32, Result<Private, DatabaseError>) {
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
