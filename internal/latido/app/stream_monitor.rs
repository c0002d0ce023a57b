//! Prepares the streams, each on its own, and tries again those that do not work.
//!
//! A stream that the database refuses stops no other one. Its channels are told; as soon as the
//! database accepts it, they get their numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use latido_base::backoff::{BackoffRange, Jitter};
use latido_base::ident::StreamId;
use latido_engine::{Engine, HintSource};
use latido_hub::Hub;
use latido_postgres::{Database, DatabaseError};
use latido_stream::{Catalog, Stream, StreamProblem};

use crate::config::{BUILTIN_REMEDY, is_builtin};

/// The time that the other streams have once the database has answered for one. A locked table may
/// keep a stream waiting for seconds, or for as long as it is locked.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// The pause between two attempts while the database does not answer, before jitter.
const UNREACHED_PAUSE: Duration = Duration::from_millis(500);
/// The pauses between two attempts to use a stream that the database refuses.
const BROKEN_PAUSES: BackoffRange =
    BackoffRange::new(Duration::from_millis(500), Duration::from_secs(10));
/// The SQLSTATE `undefined_table`.
const UNDEFINED_TABLE: &str = "42P01";
/// The interval at which the state of a stream is looked at. No statement is sent for that.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the server that a stream's state concerns. Clones share them.
#[derive(Clone)]
pub(super) struct StreamMonitor {
    pub(super) database: Database,
    pub(super) catalog: Arc<Catalog>,
    pub(super) engine: Engine,
    pub(super) hub: Arc<Hub>,
    /// True if the built-in stream is off where the database lacks its tables.
    pub(super) builtin_is_optional: Arc<AtomicBool>,
}

impl StreamMonitor {
    /// Waits until the database has accepted or refused every stream. Before, no client is admitted.
    /// A stream that takes much longer than another one does not delay it: its channels are told
    /// that they cannot be read yet, and [`Self::run`] goes on.
    pub(super) async fn prepare_all(&self) {
        let all = self.catalog.iter();
        let mut examinations: FuturesUnordered<_> = all
            .map(|(id, stream)| self.examine_first(id, stream))
            .collect();
        examinations.next().await;
        let others = examinations.for_each(async |()| {});
        if timeout(LATE_AFTER, others).await.is_err() {
            self.report_late();
        }
        let statuses = self.catalog.iter().map(|(id, _)| self.catalog.status(id));
        let streams = statuses.filter(|status| status.is_working()).count();
        tracing::info!(streams, "streams prepared");
    }

    /// Tries every stream again while it does not work, until the server stops.
    pub(super) async fn run(&self) {
        let mut reloads = self.hub.reloads();
        let (mut repairs, mut known) = (FuturesUnordered::new(), 0);
        loop {
            // A reload may add streams meanwhile: they are those of the next turn.
            for (id, stream) in self.catalog.all_from(known) {
                repairs.push(self.repair(id, stream));
                known += 1;
            }
            tokio::select! {
                _ = repairs.next(), if !repairs.is_empty() => {}
                changed = reloads.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Examines a stream until the database has accepted or refused it.
    async fn examine_first(&self, id: StreamId, stream: &Stream) {
        let mut is_reported = false;
        while let Err(Unreached(error)) = self.examine(id, stream).await {
            if !std::mem::replace(&mut is_reported, true) {
                let stream = &stream.name;
                tracing::warn!(stream, %error, "the stream can't be prepared yet; retrying");
            }
            pause(UNREACHED_PAUSE).await;
        }
    }

    /// Marks the streams for which the database has not answered yet.
    fn report_late(&self) {
        for (id, stream) in self.catalog.iter() {
            let status = self.catalog.status(id);
            if !status.is_examined() {
                let stream = &stream.name;
                tracing::warn!(
                    stream,
                    "the stream is not prepared yet; the other streams go on"
                );
                status.set_broken(late_problem(stream));
            }
        }
    }

    /// Tries a stream again while it does not work, until it is retired.
    async fn repair(&self, id: StreamId, stream: &Stream) {
        let mut attempts = 0;
        while !self.catalog.is_retired(id) {
            if self.catalog.status(id).needs_examination() {
                pause(BROKEN_PAUSES.pause_after(attempts)).await;
                attempts += 1;
                // If the database does not answer, the next attempt finds out.
                let examination = self.examine(id, stream);
                let _unreached = self.database.sleep().while_awake(examination).await;
            } else {
                attempts = 0;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }

    /// Examines a stream once, and records the result.
    ///
    /// # Errors
    /// Returns an error if the database does not answer.
    async fn examine(&self, id: StreamId, stream: &Stream) -> Result<(), Unreached> {
        let status = self.catalog.status(id);
        if let Some(problem) = stream.inference.key_problem() {
            if status.set_broken(problem.clone()) {
                let stream = &stream.name;
                tracing::error!(stream, %problem, "the stream's keys are not known; reload the server when that is mended");
            }
            return Ok(());
        }
        match self.database.probe_stream(stream).await {
            Err(error @ DatabaseError::Unavailable { .. }) => return Err(Unreached(error)),
            Err(error)
                if self.builtin_is_optional.load(Ordering::Relaxed) && is_off(stream, &error) =>
            {
                if status.set_off(error.stream_problem()) {
                    let stream = &stream.name;
                    tracing::info!(
                        stream,
                        "the built-in stream is off: the database has no table citas"
                    );
                }
                return Ok(());
            }
            Err(error) => {
                let problem = error.stream_problem();
                if status.problem().as_ref() != Some(&problem) {
                    report_broken(stream, &error);
                }
                status.set_broken(problem);
                return Ok(());
            }
            Ok(()) => {}
        }
        if let Some(error) = self.database.history_problem(stream) {
            let stream = &stream.name;
            tracing::error!(stream, %error, "the history of the stream cannot be read; the stream goes on without it");
        }
        let mut is_repaired = status.set_working();
        if let Some(error) = self.database.authorize_problem(stream) {
            if status.set_permissions_broken(error.stream_problem()) {
                let stream = &stream.name;
                tracing::error!(stream, %error, "no permission of the stream can be looked up; only tokens and roles grant its keys");
            }
        } else if status.has_broken_permissions()
            && self.database.probe_permissions(stream).await.is_ok()
        {
            is_repaired |= status.set_permissions_working();
        }
        if is_repaired {
            tracing::info!(stream = stream.name, "the stream works again");
            self.engine.mark_all(Some(id), HintSource::Resync);
            self.hub.retry_subscriptions();
        }
        Ok(())
    }
}

/// Returns whether an error only means that the database lacks the table of the built-in stream.
pub(super) fn is_off(stream: &Stream, error: &DatabaseError) -> bool {
    error.sqlstate() == Some(UNDEFINED_TABLE) && is_builtin(stream)
}

/// The error for a database that did not answer.
struct Unreached(DatabaseError);

fn late_problem(stream: &str) -> StreamProblem {
    let summary = format!("the database has not prepared the query of stream {stream} yet");
    StreamProblem {
        detail: summary.clone(),
        summary,
    }
}

fn report_broken(stream: &Stream, error: &DatabaseError) {
    let remedy = if is_builtin(stream) {
        BUILTIN_REMEDY
    } else {
        "it is tried again; `latido doctor` examines it"
    };
    let stream = &stream.name;
    tracing::error!(stream, %error, remedy, "the stream cannot be read; the other streams go on");
}

async fn pause(duration: Duration) {
    tokio::time::sleep(Jitter::AROUND.apply(duration, fastrand::f64())).await;
}
