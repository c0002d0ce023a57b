//! The stop signal, and the count of what still runs.
//!
//! Every task of the server is spawned here; nothing outlives [`Drain::finish`] unnoticed.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Handed to everything that runs. Clones share one signal and one count.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Something that runs and is no task of ours; counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    _token: TaskTrackerToken,
}

impl Drain {
    /// A server that has not been asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on the current runtime and counts it until it ends. The task watches [`Drain::stopping`] itself.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Runs `task` until it ends or the server stops, whichever comes first.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Counts what somebody else runs, a socket that a foreign task owns, say.
    pub fn count(&self) -> Counted {
        Counted {
            _token: self.tasks.token(),
        }
    }

    /// Asks everything to stop; returns at once.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the server was asked to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the server was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Stops, waits at most `grace`, and returns how many tasks were still running then.
    pub async fn finish(&self, grace: Duration) -> usize {
        self.stop();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.tasks.len()
    }
}
