//! Adapters: they implement one module's traits with another module's types, so that neither
//! imports the other.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::civil::Date;

use latido_admin::{Readiness, ReadinessReport, StreamReport};
use latido_app_kit::FeedTrigger;
use latido_app_messaging as messaging;
use latido_auth::{PermissionFuture, PermissionLookupError, PermissionSource};
use latido_base::ident::{Key, Topic, UserId};
use latido_demo::SqlExecutor;
use latido_engine::{
    Engine, HintSource, Interest, NotifyState, ReadError, ReadFuture, ReadRow, SnapshotReader,
};
use latido_http::ColumnSource;
use latido_postgres::{
    self as postgres, ChangeHint, Database, DatabaseError, ListenerState, LockState,
    NotificationListener, ScriptRunner, WatchLockEvent,
};
use latido_stream::{Catalog, Column, Stream};
use latido_telemetry::{Metrics, RecentEventKind};

/// Lets the engine read snapshots from PostgreSQL.
pub(super) struct PostgresReader(pub(super) Database);

impl SnapshotReader for PostgresReader {
    fn read<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [Date],
    ) -> ReadFuture<'a, Vec<ReadRow>> {
        Box::pin(async move {
            let rows = self
                .0
                .read_timed(stream, keys, todays)
                .await
                .map_err(to_read_error)?;
            Ok(rows
                .into_iter()
                .map(|(row, took)| ReadRow { row, took })
                .collect())
        })
    }

    fn mismatched_keys<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
        todays: &'a [Date],
    ) -> ReadFuture<'a, Vec<Key>> {
        Box::pin(async move {
            self.0
                .mismatched_keys(stream, keys, todays)
                .await
                .map_err(to_read_error)
        })
    }

    fn zones<'a>(
        &'a self,
        stream: &'a Stream,
        keys: &'a [Key],
    ) -> ReadFuture<'a, HashMap<Key, String>> {
        Box::pin(async move { self.0.zones(stream, keys).await.map_err(to_read_error) })
    }
}

fn to_read_error(error: DatabaseError) -> ReadError {
    match error {
        DatabaseError::Unavailable { .. } => ReadError::Unavailable(error.to_string()),
        DatabaseError::Rejected { .. } | DatabaseError::Unfit { .. } => {
            ReadError::Rejected(error.to_string())
        }
    }
}

/// Lets the demo write to PostgreSQL.
pub(super) struct PostgresScripts(pub(super) ScriptRunner);

impl SqlExecutor for PostgresScripts {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move { Ok(self.0.execute(sql).await?) })
    }
}

/// Lets the policy look up permissions in PostgreSQL.
pub(super) struct PostgresPermissions(pub(super) Database);

impl PermissionSource for PostgresPermissions {
    fn allowed<'a>(
        &'a self,
        stream: &'a Stream,
        user: &'a UserId,
        key: &'a Key,
    ) -> PermissionFuture<'a> {
        Box::pin(async move {
            let keys = self
                .0
                .allowed_keys(stream, user, std::slice::from_ref(key))
                .await;
            keys.map(|keys| keys.contains(key))
                .map_err(|error| PermissionLookupError(error.to_string().into()))
        })
    }
}

/// Returns the callback that forwards change hints from the LISTEN connection to the engine and the
/// messaging app.
pub(super) fn forward_hints(
    engine: Engine,
    metrics: Arc<Metrics>,
    messaging: FeedTrigger,
) -> impl Fn(ChangeHint) + Send + Sync + 'static {
    let record = move |state| {
        metrics
            .recent_events
            .record(RecentEventKind::Listener, state, None)
    };
    move |hint| match hint {
        ChangeHint::Changed { stream, keys } => {
            for key in keys {
                engine.changed(&Topic { stream, key }, HintSource::Trigger);
            }
        }
        ChangeHint::Everything(stream) => {
            engine.mark_all(stream, HintSource::Trigger);
            if stream.is_none() {
                messaging.notify();
            }
        }
        // Reading after a loss as well shows at once if the database is unavailable, and notifies
        // viewers if so.
        ChangeHint::Lost | ChangeHint::Listening => {
            record(if hint == ChangeHint::Lost {
                "lost"
            } else {
                "listening"
            });
            messaging.set_listening(hint == ChangeHint::Listening);
            engine.mark_all(None, HintSource::Resync);
        }
        ChangeHint::NotDelivering => {
            record("deaf");
            messaging.set_listening(false);
        }
        ChangeHint::App(app) if app == messaging::NAME => messaging.notify(),
        ChangeHint::App(_) => {}
    }
}

/// Lets the engine declare watched keys through locks in PostgreSQL.
pub(super) struct PostgresWatchLocks(pub(super) postgres::WatchLocks);

impl Interest for PostgresWatchLocks {
    fn watch(&self, topic: &Topic) -> NotifyState {
        match self.0.add(topic) {
            LockState::Held => NotifyState::Enabled,
            LockState::Requested => NotifyState::Pending,
            LockState::Delayed => NotifyState::Unknown,
        }
    }

    fn unwatch(&self, topic: &Topic) {
        self.0.remove(topic);
    }

    fn release_for_polling(&self, topic: &Topic) -> bool {
        self.0.release_for_polling(topic)
    }
}

/// Returns the callback that reports the state of watch locks to the engine.
pub(super) fn forward_watch_lock_events(
    engine: Engine,
) -> impl Fn(WatchLockEvent) + Send + Sync + 'static {
    move |event| match event {
        WatchLockEvent::NotificationsEnabled(topics) => engine.notifications_enabled(&topics),
        // Until the locks are held again the sweep runs at a shorter interval. Then all keys are
        // read.
        WatchLockEvent::Lost => engine.set_triggers_complete(false),
    }
}

/// Gives the published API documents the columns of the queries.
pub(super) struct PostgresColumns(pub(super) Database);

impl ColumnSource for PostgresColumns {
    fn columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        self.0.columns(stream)
    }
}

/// Reports the readiness of the database, the listener and the streams for `/ready`.
pub(super) struct ReadinessProbe {
    pub(super) database: Database,
    pub(super) catalog: Arc<Catalog>,
    pub(super) listener: NotificationListener,
}

impl Readiness for ReadinessProbe {
    fn check(&self) -> BoxFuture<'_, ReadinessReport> {
        Box::pin(async {
            // The details are in the log only, because this response is public.
            let answer = self.database.check_connection().await;
            let database_problem = answer
                .is_err()
                .then(|| "the database does not answer".to_owned());
            let streams = self
                .catalog
                .iter()
                .map(|(_, stream)| stream_report(stream))
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
