//! The readiness of the database, the listener and the streams.

use std::sync::Arc;

use crate::listener::{ListenerState, NotificationListener};
use crate::pool::Database;
use latido_stream::{Catalog, Readiness, ReadinessFuture, ReadinessReport, Stream, StreamReport};

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
            // The details are in the log only, because this response is public.
            let answer = self.database.check_connection().await;
            let database_problem = answer
                .is_err()
                .then(|| "the database does not answer".to_owned());
            let streams = self
                .catalog
                .iter()
                .map(|(id, stream)| StreamReport {
                    degraded: self.listener.trigger_health().problem(id),
                    ..stream_report(stream)
                })
                .collect();
            let ready = database_problem.is_none() && self.catalog.is_ready();
            ReadinessReport {
                is_ready: ready,
                database_problem,
                listener: listener_state_name(self.listener.state()),
                streams,
            }
        })
    }
}

fn stream_report(stream: &Stream) -> StreamReport {
    let problem = stream
        .key_type
        .get()
        .is_none()
        .then(|| "its query has not been prepared yet".to_owned());
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
        ListenerState::Connecting => "connecting",
        ListenerState::Listening => "listening",
        ListenerState::NotDelivering => "deaf",
    }
}
