//! A client that commits changes on a schedule, from the load's core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context as _;

use crate::cluster::{BenchDatabase, connect};
use crate::pacer::{self, PublishSchedule};
use crate::{keys, machine};

/// A thread that commits changes until it is dropped.
#[derive(Debug)]
pub(crate) struct ScheduledWriter {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ScheduledWriter {
    /// Starts to change businesses on the schedule of the beats, with one commit per change.
    pub(crate) fn start(
        database: &BenchDatabase,
        beats: &[PublishSchedule],
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, beats) = (database.url.clone(), beats.to_vec());
        let stopped = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting a runtime")?;
        let work = move || {
            let Ok(client) = runtime.block_on(connect(&url)) else {
                return;
            };
            pacer::run_schedules(&beats, |channel, _| {
                let done = runtime.block_on(client.batch_execute(&toggle_sql(channel)));
                done.is_ok() && !stopped.load(Ordering::Relaxed)
            });
        };
        let thread = machine::on_core(Some(machine::LOAD_CORE), || std::thread::spawn(work))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for ScheduledWriter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panicked thread has already printed its message.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Returns a statement that changes the statistics of a business without adding rows.
pub(crate) fn toggle_sql(business: usize) -> String {
    format!(
        "UPDATE citas SET estado = CASE estado WHEN 'atendida' THEN 'pendiente'::estado_cita ELSE 'atendida' END
          WHERE id = (SELECT id FROM citas WHERE negocio_id = '{}' LIMIT 1)",
        keys::key(business)
    )
}
