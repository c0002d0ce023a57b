//! Watches the server's notification queue, which all databases of a PostgreSQL server share.
//!
//! A session that listens and stays in a transaction, or never reads, keeps the queue from
//! shrinking. When the queue is full, every commit that notifies fails. Asking for the fill level
//! also removes what nobody needs any more, so that the failures end soon after the cause does.
//!
//! No writer fails because of Latido: from half full on, writers behind the interest gate send
//! nothing, and from three quarters on no installed trigger does (`triggers/function_body.rs`,
//! `sql/apps`). The margin is for what is sent between two checks. Meanwhile the server and the
//! apps read without notifications, and everything once more when the queue has room.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::error::DatabaseError;
use crate::pool::Database;
use latido_telemetry::Metrics;

/// The interval of reading the fill level.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
/// The fill level that is worth a warning. Below it, writers may notify again.
pub(crate) const WARNING_LEVEL: f64 = 0.25;
/// The fill level at which writers are asked to be silent.
const SILENCE_LEVEL: f64 = 0.5;
/// The interval at which the warning is repeated.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);
/// The time for which a transaction must stay open to count as a cause.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// The largest number of backends that are named.
const MAX_NAMED: usize = 3;

const USAGE_SQL: &str = "SELECT pg_catalog.pg_notification_queue_usage()";

/// Reads the sessions in a transaction, the oldest first, and those whose client does not read. A
/// role without the rights of `pg_read_all_stats` sees neither age nor state of others' sessions,
/// but everybody sees the lock that each transaction holds on itself.
const BACKENDS_SQL: &str = "SELECT a.pid, a.usename::pg_catalog.text, a.state,
       (extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.xact_start))::pg_catalog.float8,
       coalesce(l.virtualtransaction, '')
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_locks l ON l.pid OPERATOR(pg_catalog.=) a.pid AND l.locktype OPERATOR(pg_catalog.=) 'virtualxid'
       AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock' AND l.granted AND l.virtualxid OPERATOR(pg_catalog.=) l.virtualtransaction
 WHERE a.usesysid IS NOT NULL AND a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
   AND (l.pid IS NOT NULL OR a.wait_event OPERATOR(pg_catalog.=) 'ClientWrite')
 ORDER BY a.xact_start NULLS LAST, a.pid";

/// A session that may keep the notification queue from shrinking.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlockingBackend {
    pid: i32,
    role: String,
    /// The state and the transaction's age in seconds, if this role may see them.
    state: Option<String>,
    age_s: Option<f64>,
    transaction: String,
}

impl fmt::Display for BlockingBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} of role {}", self.pid, self.role)?;
        match (&self.state, self.age_s) {
            (Some(state), Some(age)) => write!(f, " ({state}, in a transaction for {age:.0} s)"),
            (Some(state), None) => write!(f, " ({state}, its client does not read)"),
            (None, _) => Ok(()),
        }
    }
}

/// The fill level of the queue, and the sessions that may be its cause.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct QueueReport {
    /// The fill level, from 0 to 1. At 1, commits that notify fail.
    pub(crate) usage: f64,
    blocking: Vec<BlockingBackend>,
}

impl QueueReport {
    pub(crate) fn is_filling(&self) -> bool {
        self.usage >= WARNING_LEVEL
    }

    /// Returns the names of the first sessions, or a text that says that there are none.
    pub(crate) fn blocking_names(&self) -> String {
        if self.blocking.is_empty() {
            return "no open transaction is visible".to_owned();
        }
        let names = self.blocking.iter().take(MAX_NAMED);
        names
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl Database {
    /// Reads the fill level of the notification queue. If it is high, finds the sessions whose
    /// transaction is still open after a second.
    pub(crate) async fn notify_queue(&self) -> Result<QueueReport, DatabaseError> {
        let rows = self.query("the queue's level", USAGE_SQL, &[]).await?;
        let usage = rows
            .first()
            .and_then(|row| row.try_get(0).ok())
            .unwrap_or(0.0);
        let mut report = QueueReport {
            usage,
            blocking: Vec::new(),
        };
        if report.is_filling() {
            let earlier = self.open_transactions().await?;
            sleep(LOOK_PAUSE).await;
            report.blocking = self.open_transactions().await?;
            report.blocking.retain(|backend| {
                let is_same = |other: &BlockingBackend| {
                    (other.pid, &other.transaction) == (backend.pid, &backend.transaction)
                };
                earlier.iter().any(is_same)
            });
        }
        Ok(report)
    }

    async fn open_transactions(&self) -> Result<Vec<BlockingBackend>, DatabaseError> {
        let what = "the open transactions";
        let rows = self.query(what, BACKENDS_SQL, &[]).await?;
        let backend = |row: &tokio_postgres::Row| {
            Ok(BlockingBackend {
                pid: row.try_get(0)?,
                role: row.try_get::<_, Option<String>>(1)?.unwrap_or_default(),
                state: row.try_get(2)?,
                age_s: row.try_get(3)?,
                transaction: row.try_get(4)?,
            })
        };
        rows.iter()
            .map(backend)
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| DatabaseError::from_driver(what, &error))
    }
}

/// The task that watches the queue until the server stops.
pub(super) struct QueueMonitor {
    pub(super) database: Database,
    pub(super) metrics: Arc<Metrics>,
    /// `false` while the queue is so full that writers should send nothing.
    pub(super) has_room: watch::Sender<bool>,
    /// Reports that writers send nothing (`false`), at every check as long as that lasts, and then
    /// that they notify again (`true`).
    pub(super) report_delivery: Box<dyn Fn(bool) + Send + Sync>,
}

impl QueueMonitor {
    pub(super) async fn run(self) {
        let mut due = interval(CHECK_INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut warned_at: Option<Instant> = None;
        loop {
            due.tick().await;
            let check = self.database.notify_queue();
            // The database being away is reported elsewhere.
            let Some(Ok(report)) = self.database.sleep().while_awake(check).await else {
                continue;
            };
            self.metrics.notify_queue_usage.set(report.usage);
            let had_room = *self.has_room.borrow();
            let has_room = allows_notifications(had_room, report.usage);
            if has_room != had_room {
                self.has_room.send_replace(has_room);
            }
            if !(had_room && has_room) {
                (self.report_delivery)(has_room);
            }
            if !report.is_filling() {
                if warned_at.take().is_some() {
                    tracing::info!(
                        usage = report.usage,
                        "the notification queue has room again"
                    );
                }
                continue;
            }
            let is_due = warned_at.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL);
            if is_due || has_room != had_room {
                warned_at = Some(Instant::now());
                tracing::warn!(
                    usage = report.usage,
                    blocking = %report.blocking_names(),
                    writers_notify = has_room,
                    "the notification queue is filling: a session that listens stays in a transaction or never reads; \
                     when it is full, commits that notify fail. End that session (pg_terminate_backend)"
                );
            }
        }
    }
}

/// Returns whether writers may notify, with a distance between the two levels.
fn allows_notifications(had_room: bool, usage: f64) -> bool {
    usage
        < if had_room {
            SILENCE_LEVEL
        } else {
            WARNING_LEVEL
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_are_silent_from_half_full_until_a_quarter() {
        let levels = [0.0, 0.3, 0.49, 0.5, 0.3, 0.25, 0.24, 0.49, 1.0];
        let mut has_room = true;
        let allowed = levels.map(|usage| {
            has_room = allows_notifications(has_room, usage);
            has_room
        });
        assert_eq!(
            allowed,
            [true, true, true, false, false, false, true, true, false]
        );
    }

    #[test]
    fn backends_are_named_as_far_as_they_are_visible() {
        let hidden = BlockingBackend {
            pid: 7,
            role: "ana".to_owned(),
            state: None,
            age_s: None,
            transaction: "3/9".to_owned(),
        };
        let seen = BlockingBackend {
            state: Some("idle in transaction".to_owned()),
            age_s: Some(61.2),
            ..hidden.clone()
        };
        let report = QueueReport {
            usage: 0.5,
            blocking: vec![seen, hidden],
        };
        assert_eq!(
            report.blocking_names(),
            "pid 7 of role ana (idle in transaction, in a transaction for 61 s); pid 7 of role ana"
        );
    }
}
