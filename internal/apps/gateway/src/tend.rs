//! The gateway's periodic task: it disconnects inactive clients and publishes changed dashboard
//! metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use crate::who::SECOND;
use crate::{Gateway, board, words};

/// The minimum interval between two metrics broadcasts, which reach every client each time, however
/// many clients connect.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Runs the periodic task for as long as the server runs.
pub(super) async fn tend(gateway: Arc<Gateway>) {
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cleaned = Instant::now();
    loop {
        ticks.tick().await;
        if gateway.changed.swap(false, Ordering::Relaxed) {
            let metrics = board::metrics(&gateway.hall);
            gateway
                .hall
                .tell([SECOND], &words::dashboard_metrics(&metrics), None);
        }
        if cleaned.elapsed() >= gateway.config.cleanup {
            cleaned = Instant::now();
            let dismissed = clean_up(&gateway);
            if dismissed > 0 {
                info!(
                    app = "gateway",
                    dismissed, "inactive clients were disconnected"
                );
            }
        }
    }
}

/// Disconnects clients that have been inactive for too long and returns their number. Empty rooms
/// disappear on their own.
pub(super) fn clean_up(gateway: &Gateway) -> usize {
    let Some(inactive) = gateway.config.inactive else {
        return 0;
    };
    let now = gateway.hall.clock.now();
    let is_over = |row: &board::Row| {
        now.duration_since(row.active).unsigned_abs() >= inactive && row.active < now
    };
    let over = board::rows(&gateway.hall).into_iter().filter(is_over);
    over.filter(|row| gateway.hall.exchange.kick(row.id, "inactive"))
        .count()
}
