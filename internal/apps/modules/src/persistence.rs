//! The app's background tasks: the timers, and saving module states.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::database::ModuleStateRow;

use crate::app::ModulesApp;
use crate::registry::ModuleId;
use crate::service::ModuleService;

/// The interval between saves of modules that came online or went offline. Every `FULL_SAVE_ROUNDS`
/// rounds all other changes are saved too, because telemetry changes with every frame.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const FULL_SAVE_ROUNDS: u32 = 5;
/// The largest number of modules in one save statement.
const MAX_ROWS_PER_SAVE: usize = 500;

impl ModulesApp {
    /// Runs the timers of the service when they are due.
    pub(super) async fn run_timers(self: Arc<Self>) {
        loop {
            let wait = Duration::from_millis(
                u64::try_from(self.service.next_timer() - self.service.now()).unwrap_or(0),
            );
            let _ = timeout(wait, self.service.wake.notified()).await;
            self.service.run_timers();
        }
    }

    /// Saves changed module states, and the remaining ones at shutdown. Failed saves are retried.
    pub(super) async fn persist_state(&self) {
        let (mut round, mut was_saved) = (0_u32, true);
        while !self.drain.is_stopping() {
            let _ = timeout(SAVE_INTERVAL, self.drain.stopping()).await;
            round = round.wrapping_add(1);
            let all = round % FULL_SAVE_ROUNDS == 0 || self.drain.is_stopping();
            loop {
                let rows = self.service.take_unsaved(MAX_ROWS_PER_SAVE, all);
                if rows.is_empty() {
                    break;
                }
                let saved = self.store.save_states(&rows).await;
                // Logged once per outage, however long it lasts.
                if let Err(error) = &saved
                    && was_saved
                {
                    tracing::warn!(%error, modules = rows.len(), "module states could not be saved; retrying");
                }
                was_saved = saved.is_ok();
                if !was_saved {
                    self.service.restore_unsaved(&rows);
                    break;
                }
            }
        }
    }
}

impl ModuleService {
    /// Takes at most `limit` states to save: all changed ones, or only those whose online flag
    /// changed.
    pub(super) fn take_unsaved(&self, limit: usize, all: bool) -> Vec<ModuleStateRow> {
        let mut state = self.lock();
        let candidates = state.unsaved.iter().filter(|(_, urgent)| all || **urgent);
        let ids: Vec<_> = candidates.take(limit).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            state.unsaved.remove(id);
        }
        let row = |id: &ModuleId| {
            let module = state.registry.get(id)?;
            let telemetry = module
                .telemetry
                .as_deref()
                .map(|telemetry| Value::Object(telemetry.clone()).to_string());
            Some(ModuleStateRow {
                id: id.to_string(),
                is_online: module.online,
                last_seen_ms: module.last_seen,
                telemetry,
            })
        };
        ids.iter().filter_map(row).collect()
    }

    /// Puts back states that could not be saved, so that they are retried.
    pub(super) fn restore_unsaved(&self, rows: &[ModuleStateRow]) {
        self.lock()
            .unsaved
            .extend(rows.iter().map(|row| (ModuleId::from(&*row.id), true)));
    }
}
