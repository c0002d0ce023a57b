//! Reads the rows that notifications name, at a pace that no sender of notifications sets.
//!
//! Any role may notify. Hints that arrive during a read or its pause are merged, so a flood costs
//! one read per pause. Rows that are named are read without waiting for a full read that is due
//! later.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use latido_postgres::DatabaseError;

use crate::app::ModulesApp;
use crate::row_notifications::RowHint;
use crate::row_sync;

/// The pause before a failed read is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The smallest pause between two full reads.
const FULL_READ_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a full read, as a multiple of the time that it took.
const FULL_READ_SHARE: u32 = 10;
/// The maximum number of modules to read by name. More are a full read.
const MAX_NAMED_MODULES: usize = 1_000;

/// The reads that hints have asked for and that are not done yet.
#[derive(Debug, Default)]
struct PendingReads {
    modules: BTreeSet<String>,
    is_full: bool,
}

impl PendingReads {
    fn add(&mut self, hint: RowHint) {
        match hint {
            RowHint::Rows(ids) => self.modules.extend(ids),
            RowHint::All => self.is_full = true,
        }
        if self.modules.len() > MAX_NAMED_MODULES {
            self.is_full = true;
        }
        // A full read covers all named modules.
        if self.is_full && self.modules.len() > MAX_NAMED_MODULES {
            self.modules.clear();
        }
    }

    fn is_empty(&self) -> bool {
        self.modules.is_empty() && !self.is_full
    }
}

impl ModulesApp {
    /// Reads the rows that the hints name, until the sender of hints is gone.
    pub(super) async fn watch_rows(self: Arc<Self>, mut hints: mpsc::Receiver<RowHint>) {
        let mut pending = PendingReads::default();
        let mut next_full_read = Instant::now();
        let mut is_initialised = false;
        loop {
            if pending.is_empty() {
                let Some(hint) = hints.recv().await else {
                    return;
                };
                pending.add(hint);
            }
            while let Some(Some(hint)) = hints.recv().now_or_never() {
                pending.add(hint);
            }
            // Rows alone are of no use before all are known.
            let is_loaded = self.service.lock().is_loaded;
            let started = Instant::now();
            let result = if is_loaded && !pending.modules.is_empty() {
                let modules: Vec<String> =
                    std::mem::take(&mut pending.modules).into_iter().collect();
                let result = self.sync_rows(&modules).await;
                sleep(started.elapsed()).await;
                result
            } else if started < next_full_read {
                match timeout_at(next_full_read, hints.recv()).await {
                    Ok(Some(hint)) => pending.add(hint),
                    Ok(None) => return,
                    Err(_) => {}
                }
                Ok(())
            } else {
                pending = PendingReads::default();
                let result = self.read_all_rows(&mut is_initialised).await;
                let pause = (started.elapsed() * FULL_READ_SHARE).max(FULL_READ_PAUSE);
                next_full_read = Instant::now() + pause;
                result
            };
            if let Err(error) = result {
                tracing::warn!(%error, "the table of modules could not be read; retrying");
                sleep(RETRY_PAUSE).await;
                // A full read covers everything that changed during the failure.
                pending.is_full = true;
                next_full_read = Instant::now();
            }
        }
    }

    async fn read_all_rows(&self, is_initialised: &mut bool) -> Result<(), DatabaseError> {
        if !*is_initialised {
            self.store.mark_all_offline().await?;
            *is_initialised = true;
        }
        row_sync::sync_all(&self.service, &*self.store, self.config.max_modules).await
    }

    pub(super) async fn sync_rows(&self, ids: &[String]) -> Result<(), DatabaseError> {
        row_sync::sync_rows(&self.service, &*self.store, ids, self.config.max_modules).await
    }
}
