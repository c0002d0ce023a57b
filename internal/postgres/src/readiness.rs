//! The readiness of the database, the listener and the streams.

use std::sync::Arc;

use crate::listener::{ListenerState, NotificationListener};
use crate::pool::Database;
use latido_stream::{
    Catalog, Readiness, ReadinessFuture, ReadinessReport, Stream, StreamReport, StreamStatus,
};

/// Reports the readiness of the database, the listener and the streams for `/ready`.
#[derive(Debug)]
pub struct ReadinessProbe {
    database: Database,
    catalog: Arc<Catalog>,
    listener: NotificationListener,
}

impl ReadinessProbe {
    /// Creates a probe of these parts.
    pub fn new(database: Database, catalog: Arc<Catalog>, listener: NotificationListener) -> Self {
        Self {
            database,
            catalog,
            listener,
        }
    }
}

impl Readiness for ReadinessProbe {
    fn check(&self) -> ReadinessFuture<'_> {
        Box::pin(async {
            let (database_problem, listener) = if self.database.sleep().is_asleep() {
                (None, "asleep")
            } else {
                // The details are in the log only, because this response is public.
                let answer = self.database.check_connection().await;
                let problem = || "the database does not answer".to_owned();
                let listener = listener_state_name(self.listener.state());
                (answer.is_err().then(problem), listener)
            };
            let listed: Vec<_> = self.catalog.iter().collect();
            let statuses = || listed.iter().map(|(id, _)| self.catalog.status(*id));
            let streams = listed.iter().zip(statuses());
            let served = streams.filter(|(_, status)| !status.is_off());
            let streams = served.map(|((id, stream), status)| StreamReport {
                degraded: match stream.inference.table_problem() {
                    Some(problem) => Some(problem.summary.clone()),
                    None => self.listener.trigger_health().problem(*id),
                },
                ..stream_report(stream, status)
            });
            let streams: Vec<_> = streams.collect();
            // A broken stream does not take the others out of service.
            let works = streams.is_empty() || statuses().any(StreamStatus::is_working);
            let is_examined = statuses().all(StreamStatus::is_examined);
            ReadinessReport {
                is_ready: database_problem.is_none() && is_examined && works,
                database_problem,
                listener,
                streams,
            }
        })
    }
}

fn stream_report(stream: &Stream, status: &StreamStatus) -> StreamReport {
    let unprepared = || "its query has not been prepared yet".to_owned();
    let problem = match status.problem() {
        Some(problem) => Some(problem.summary),
        None => (!status.is_examined()).then(unprepared),
    };
    StreamReport {
        name: stream.name.clone(),
        problem,
        degraded: None,
    }
}

/// Returns the listener's state as text. A server without a listener still works through the hook
/// and the sweep, so the state is reported but does not make the server unready.
fn listener_state_name(state: ListenerState) -> &'static str {
    match state {
        ListenerState::Connecting | ListenerState::Asleep => "connecting",
        ListenerState::Listening => "listening",
        ListenerState::NotDelivering => "deaf",
    }
}
