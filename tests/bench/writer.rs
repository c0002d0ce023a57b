//! Someone who commits changes in a rhythm, from the load's core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;

use crate::beat::{self, Beat};
use crate::store::{Database, connect};
use crate::{keys, machine};

/// Commits until dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts to change businesses in the rhythm of the beats, one commit a change.
    pub(crate) fn start(database: &Database, beats: &[Beat]) -> anyhow::Result<Self> {
        let (stop, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (url, beats) = (database.url.clone(), beats.to_vec());
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&commits));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        let work = move || {
            let Ok(client) = runtime.block_on(connect(&url)) else { return };
            beat::play(&beats, |channel, _| {
                let done = runtime.block_on(client.batch_execute(&toggle(channel)));
                counted.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
                done.is_ok() && !stopped.load(Ordering::Relaxed)
            });
        };
        let thread = machine::on_core(Some(machine::LOAD_CORE), || std::thread::spawn(work))?;
        Ok(Self { stop, commits, thread: Some(thread) })
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A thread that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A statement that changes the statistics of a business without making its history longer.
pub(crate) fn toggle(business: usize) -> String {
    format!(
        "UPDATE citas SET estado = CASE estado WHEN 'atendida' THEN 'pendiente'::estado_cita ELSE 'atendida' END
          WHERE id = (SELECT id FROM citas WHERE negocio_id = '{}' LIMIT 1)",
        keys::key(business)
    )
}
