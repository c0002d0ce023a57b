//! What the server knows about the triggers while it runs: their last inspected state, and the
//! failures that they report themselves. Used by `/ready`, the log and a metric.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_postgres::error::SqlState;

use crate::triggers::{TableProblem, TriggerReport, TriggerState};
use latido_base::ident::StreamId;
use latido_telemetry::Metrics;

/// The time after its last failure for which a stream's triggers count as failing.
const FAILING_FOR: Duration = Duration::from_secs(600);

/// The largest number of different failures that are logged for one stream. Every role that may
/// connect can invent notifications.
const MAX_LOGGED: usize = 16;

/// The failure of a trigger, as its notification reports it. The write that it concerns succeeded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TriggerFailure {
    pub(crate) stream: StreamId,
    pub(crate) table: String,
    /// Five letters or digits.
    pub(crate) sqlstate: String,
}

/// The health of every stream's triggers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct TriggerHealth {
    streams: Arc<Mutex<HashMap<StreamId, StreamTriggers>>>,
    /// Wakes the inspection of the triggers after a failure of a new kind.
    new_failure: Arc<Notify>,
}

#[derive(Debug, Default)]
struct StreamTriggers {
    state: Option<TriggerState>,
    /// What is known about renamed columns, in one sentence.
    renamed: Option<String>,
    /// The time of the last failure and its SQLSTATE.
    last_failure: Option<(Instant, String)>,
    logged: BTreeSet<TriggerFailure>,
}

impl TriggerHealth {
    /// Records the result of an inspection of all triggers.
    pub fn set_report(&self, report: &TriggerReport) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for table in &report.tables {
            let known = streams.entry(table.stream).or_default();
            known.state = Some(report.stream_state(table.stream));
            known.renamed = None;
        }
        for table in &report.tables {
            let renamed = table
                .problem
                .as_ref()
                .and_then(TableProblem::renamed_summary);
            if let (Some(renamed), Some(known)) = (renamed, streams.get_mut(&table.stream)) {
                known.renamed = Some(renamed);
            }
        }
    }

    /// Waits for a trigger's failure of a kind that was not reported before.
    pub async fn wait_for_new_failure(&self) {
        self.new_failure.notified().await;
    }

    /// Counts a failure that a trigger reported, and logs each kind of failure once.
    pub(crate) fn record(&self, failure: TriggerFailure, stream: &str, metrics: &Metrics) {
        metrics.trigger_failures.inc();
        if is_passing(&failure.sqlstate) {
            return;
        }
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let known = streams.entry(failure.stream).or_default();
        known.last_failure = Some((Instant::now(), failure.sqlstate.clone()));
        if known.logged.len() < MAX_LOGGED && !known.logged.contains(&failure) {
            tracing::warn!(
                stream,
                table = failure.table,
                sqlstate = failure.sqlstate,
                "a trigger failed; the write succeeded, and every key of the stream is read again{}",
                remedy(&failure.sqlstate)
            );
            known.logged.insert(failure);
            self.new_failure.notify_one();
        }
    }

    /// Returns the reason why not every change of the stream is notified exactly, for everyone to
    /// read.
    pub(crate) fn problem(&self, stream: StreamId) -> Option<String> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let known = streams.get(&stream)?;
        if let Some(renamed) = &known.renamed {
            return Some(renamed.clone());
        }
        match (&known.last_failure, known.state) {
            (Some((at, sqlstate)), _) if at.elapsed() < FAILING_FOR => Some(format!(
                "its triggers fail ({sqlstate}): every change counts as a change of every key"
            )),
            (_, Some(TriggerState::Missing)) => {
                Some("it has no triggers: only the hook and the sweep find changes".to_owned())
            }
            (_, Some(TriggerState::Outdated)) => Some(
                "its triggers are outdated or disabled: the sweep finds what they miss".to_owned(),
            ),
            _ => None,
        }
    }
}

/// Returns whether a failure is that of one transaction (class 40, such as a serialization failure),
/// and says nothing about the triggers.
fn is_passing(sqlstate: &str) -> bool {
    sqlstate.starts_with("40")
}

/// Returns what to do about a trigger that failed with that SQLSTATE, or nothing: others pass.
fn remedy(sqlstate: &str) -> &'static str {
    if sqlstate == SqlState::INSUFFICIENT_PRIVILEGE.code() {
        ". The role that installed the triggers may not read a table of `via`, or row-level security concerns it: \
         run `latido install` as the owner of the tables, or with BYPASSRLS"
    } else if sqlstate.starts_with("42") {
        ". A column was renamed or retyped: run `latido doctor`, then `latido install`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(table: &str) -> TriggerFailure {
        TriggerFailure {
            stream: StreamId(0),
            table: table.to_owned(),
            sqlstate: "42703".to_owned(),
        }
    }

    #[test]
    fn failures_are_counted_and_remembered_within_bounds() {
        let (health, metrics) = (TriggerHealth::default(), Metrics::new());
        assert_eq!(health.problem(StreamId(0)), None);
        for n in 0..100 {
            health.record(failure(&n.to_string()), "estadisticas", &metrics);
        }
        assert_eq!(metrics.trigger_failures.get(), 100);
        let problem = health.problem(StreamId(0)).unwrap();
        assert!(problem.contains("42703"), "{problem}");
        assert_eq!(health.problem(StreamId(1)), None);
        let streams = health.streams.lock().unwrap();
        assert_eq!(streams[&StreamId(0)].logged.len(), MAX_LOGGED);
    }

    #[test]
    fn remedy_fits_the_failure() {
        assert!(remedy("42703").contains("`latido install`"));
        assert!(remedy("42501").contains("BYPASSRLS"));
        assert_eq!(remedy("54001"), "");
    }

    #[test]
    fn serialization_failure_passes_with_its_transaction() {
        let (health, metrics) = (TriggerHealth::default(), Metrics::new());
        let failure = TriggerFailure {
            sqlstate: "40001".to_owned(),
            ..failure("t")
        };
        health.record(failure, "estadisticas", &metrics);
        assert_eq!(metrics.trigger_failures.get(), 1);
        assert_eq!(health.problem(StreamId(0)), None);
    }
}
