//! Puts the connections to the database to sleep when nobody has watched anything for a while.

use std::sync::Arc;
use std::time::Duration;

use latido_base::sleep::Sleep;
use latido_postgres::Database;
use latido_stream::{Catalog, StreamStatus};
use latido_telemetry::{Metrics, RecentEventKind};

/// The interval at which streams that do not work are looked at. No statement is sent for that.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The parts of the server that decide on the sleep, and those that show it.
pub(super) struct SleepMonitor {
    pub(super) database: Database,
    pub(super) catalog: Arc<Catalog>,
    pub(super) metrics: Arc<Metrics>,
}

impl SleepMonitor {
    /// Begins the sleep whenever it is time to, until the server stops. Returns at once if the
    /// connections never sleep.
    pub(super) async fn run(self) {
        let sleep = self.database.sleep();
        while let Some(at) = sleep.next_check() {
            tokio::time::sleep_until(at.into()).await;
            if self.is_needed() {
                sleep.touch();
                tokio::time::sleep(LOOK_INTERVAL).await;
            } else if sleep.try_sleep() {
                self.on_asleep(sleep);
                self.until_awake(sleep).await;
                self.metrics.asleep.set(0);
                self.metrics.wakes.inc();
                tracing::info!("the connections to the database are opened again");
            }
        }
    }

    fn on_asleep(&self, sleep: &Sleep) {
        self.database.close_idle();
        self.metrics.asleep.set(1);
        let events = &self.metrics.recent_events;
        events.record(RecentEventKind::Listener, "asleep", None);
        let unused_s = sleep.after().map(|after| after.as_secs());
        tracing::info!(
            unused_s,
            "nobody watches anything; the connections to the database are closed until somebody does"
        );
    }

    async fn until_awake(&self, sleep: &Sleep) {
        while tokio::time::timeout(LOOK_INTERVAL, sleep.until_awake())
            .await
            .is_err()
        {
            if self.is_needed() {
                sleep.touch();
            }
        }
    }

    /// Returns whether the database is needed although nothing is watched: before it was asked about
    /// every stream, and for clients whose subscriptions wait until their stream works.
    fn is_needed(&self) -> bool {
        let statuses = || self.catalog.iter().map(|(id, _)| self.catalog.status(id));
        !statuses().all(StreamStatus::is_examined)
            || self.metrics.connections.get() > 0 && statuses().any(StreamStatus::needs_examination)
    }
}
