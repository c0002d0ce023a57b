//! The stop signal and the count of running work.
//!
//! Every task of the server is spawned here, so that no task outlives [`Drain::drain`] unnoticed.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A handle given to everything that runs. Clones share one stop signal and one count.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A guard that counts as running work until it is dropped, for work that [`Drain`] did not spawn.
#[derive(Debug)]
pub struct DrainGuard {
    _token: TaskTrackerToken,
}

impl Drain {
    /// Creates a handle whose stop signal has not been sent.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spawns `task` on the current runtime and counts it until it ends. The task itself must watch
    /// [`Drain::stopping`].
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Spawns `task` and cancels it when the server stops. After the stop signal the task is not
    /// polled again, so it does not take the end of another task for a fault.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Counts work that another component runs, for example a socket owned by a foreign task.
    pub fn guard(&self) -> DrainGuard {
        DrainGuard {
            _token: self.tasks.token(),
        }
    }

    /// Sends the stop signal and returns at once.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the stop signal has been sent.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Returns `true` once the stop signal has been sent.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Sends the stop signal, waits at most `grace`, and returns the number of tasks that are still
    /// running then.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.stop();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_ok() {
            return 0;
        }
        self.tasks.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn no_task_sees_the_end_of_another_when_stopped() {
        let seen = Arc::new(AtomicUsize::new(0));
        // Without a fixed order each round succeeds by chance.
        for _ in 0..32 {
            let drain = Drain::new();
            let (sender, mut receiver) = watch::channel(());
            drain.spawn_until_stop(async move {
                let () = std::future::pending().await;
                drop(sender);
            });
            let seen = Arc::clone(&seen);
            drain.spawn_until_stop(async move {
                let _closed = receiver.changed().await;
                seen.fetch_add(1, Ordering::Relaxed);
            });
            tokio::task::yield_now().await;
            assert_eq!(drain.drain(Duration::from_secs(10)).await, 0);
        }
        assert_eq!(seen.load(Ordering::Relaxed), 0);
    }
}
