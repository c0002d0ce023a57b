//! Monitors the triggers, so that the engine knows if every change is notified.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use latido_engine::{Engine, HintSource};
use latido_postgres::{Database, DatabaseError, ListenerState, TriggerHealth, TriggerState};
use latido_stream::Catalog;

/// The interval at which the triggers are checked without other events: another process may install
/// or drop them.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The states that must all be good for notifications to be sent and to arrive.
pub(super) struct DeliveryState {
    /// The state of the LISTEN connection, over which notifications arrive.
    pub(super) listener: watch::Receiver<ListenerState>,
    /// `true` while the watch locks are held, by which writers learn which keys are watched.
    pub(super) watch_locks: watch::Receiver<bool>,
    /// `false` while the notification queue is so full that writers send nothing.
    pub(super) queue_has_room: watch::Receiver<bool>,
    /// The interval at which the triggers are inspected without other events.
    pub(super) check_interval: Duration,
    /// Changes when streams were replaced.
    pub(super) reloads: watch::Receiver<u64>,
    /// Where the state of the triggers is recorded for `/ready`.
    pub(super) triggers: TriggerHealth,
}

/// Monitors the triggers until the server stops.
pub(super) async fn run(
    database: Database,
    catalog: Arc<Catalog>,
    engine: Engine,
    delivery: DeliveryState,
) {
    let DeliveryState {
        mut listener,
        mut watch_locks,
        mut queue_has_room,
        check_interval,
        mut reloads,
        triggers,
    } = delivery;
    report_read_gaps(&database, &catalog).await;
    let mut reported = None;
    loop {
        let inspection = async {
            let is_delivering = *listener.borrow_and_update() == ListenerState::Listening
                && *watch_locks.borrow_and_update()
                && *queue_has_room.borrow_and_update();
            let installed = is_delivering
                && check_triggers(&database, &catalog, &triggers, &mut reported).await;
            engine.set_triggers_complete(installed);
            recheck_keys(&database, &catalog, &engine).await;
        };
        if database.sleep().while_awake(inspection).await.is_none() {
            continue;
        }
        tokio::select! {
            changed = listener.changed() => if changed.is_err() { return },
            changed = watch_locks.changed() => if changed.is_err() { return },
            changed = queue_has_room.changed() => if changed.is_err() { return },
            changed = reloads.changed() => {
                if changed.is_err() { return }
                // The triggers of the new streams are reported, whatever was before.
                reported = None;
            }
            () = triggers.wait_for_new_failure() => {}
            () = tokio::time::sleep(check_interval) => {}
        }
    }
}

/// Breaks the streams whose key columns have a type now whose texts are others than those of the
/// server. Their viewers are told, and the stream monitor tries again.
async fn recheck_keys(database: &Database, catalog: &Catalog, engine: &Engine) {
    for (id, stream) in catalog.iter() {
        let status = catalog.status(id);
        if !status.is_working() {
            continue;
        }
        let Err(error @ DatabaseError::KeyMismatch(_)) = database.recheck_key_columns(stream).await
        else {
            continue;
        };
        status.set_broken(error.stream_problem());
        tracing::error!(stream = stream.name, %error, "a key column has another type since the stream was prepared");
        engine.mark_all(Some(id), HintSource::Resync);
    }
}

/// Logs where the streams' tables differ from what `latido install` found that the queries read.
async fn report_read_gaps(database: &Database, catalog: &Catalog) {
    // A database that does not respond gives no information.
    let gaps = database.recorded_read_gaps(catalog).await;
    for (stream, gap) in gaps.unwrap_or_default() {
        tracing::warn!(stream, remedy = gap.remedy(&stream), "{gap}");
    }
}

/// Returns `true` if the triggers of every stream that works are installed and up to date. Logs a
/// change to `false` once.
async fn check_triggers(
    database: &Database,
    catalog: &Catalog,
    health: &TriggerHealth,
    reported: &mut Option<bool>,
) -> bool {
    // A database that does not respond gives no information about its triggers.
    let Ok(triggers) = database.triggers(catalog).await else {
        return reported.unwrap_or(false);
    };
    health.set_report(&triggers);
    // A broken stream, whose table may not exist, does not make the others be polled.
    let outdated: Vec<_> = triggers
        .tables
        .iter()
        .filter(|table| table.state > TriggerState::NotAlways)
        .filter(|table| catalog.status(table.stream).is_working())
        .collect();
    let current = outdated.is_empty();
    if reported.replace(current) != Some(current) {
        for table in outdated {
            let stream = &catalog.get(table.stream).name;
            tracing::warn!(stream, table = table.table, state = %table.state, "run `latido install`: until then only the hook and the sweep detect changes");
            if let Some(problem) = &table.problem {
                tracing::warn!(stream, table = table.table, %problem, "the table does not fit the stream");
            }
        }
    }
    current
}
