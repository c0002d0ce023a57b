//! Learns what the streams' queries look like, and keeps the engine told whether triggers tell of every change.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::Engine;
use crate::postgres::{Database, ListenerState, TriggerState};
use crate::stream::Catalog;

/// Between two tries to prepare the streams, with jitter.
const RETRY: Duration = Duration::from_millis(500);
/// How often the triggers are looked at while nothing else happens: somebody may install or drop them.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What must be up for notifications to be sent, and to arrive.
pub(super) struct Roads {
    /// They arrive.
    pub(super) ears: watch::Receiver<ListenerState>,
    /// Writers can be told what is watched.
    pub(super) interest: watch::Receiver<bool>,
}

/// Runs until the server stops.
pub(super) async fn keep(database: Database, catalog: Arc<Catalog>, engine: Engine, roads: Roads) {
    let Roads {
        mut ears,
        mut interest,
    } = roads;
    prepare(&database, &catalog).await;
    let mut told = None;
    loop {
        let open =
            *ears.borrow_and_update() == ListenerState::Listening && *interest.borrow_and_update();
        let installed = open && are_current(&database, &catalog, &mut told).await;
        engine.set_covered(installed);
        tokio::select! {
            changed = ears.changed() => if changed.is_err() { return },
            changed = interest.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Until this is done no channel means anything, and clients are told to come back later.
async fn prepare(database: &Database, catalog: &Catalog) {
    let mut told = String::new();
    while let Err(error) = database.prepare(catalog).await {
        let error = error.to_string();
        if error != told {
            tracing::warn!(%error, "the streams can't be prepared yet; trying on");
            told = error;
        }
        tokio::time::sleep(RETRY.mul_f64(0.5 + fastrand::f64())).await;
    }
    tracing::info!(streams = catalog.iter().count(), "streams prepared");
}

/// Whether the triggers of every stream are installed and up to date; says so once when that changes.
async fn are_current(database: &Database, catalog: &Catalog, told: &mut Option<bool>) -> bool {
    // A database that does not answer now says nothing about its triggers.
    let Ok(triggers) = database.triggers(catalog).await else {
        return told.unwrap_or(false);
    };
    let current = triggers.are_current();
    if told.replace(current) != Some(current) && !current {
        for table in triggers
            .tables
            .iter()
            .filter(|table| table.state != TriggerState::Current)
        {
            let stream = &catalog.get(table.stream).name;
            tracing::warn!(stream, table = table.table, state = ?table.state, "run `latido install`: until then the hook and the sweep alone tell of changes");
        }
    }
    current
}
