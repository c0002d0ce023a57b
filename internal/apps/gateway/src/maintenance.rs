//! The gateway's periodic task: it disconnects inactive clients and publishes changed dashboard
//! metrics.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

use crate::shared::GatewayShared;
use crate::user::ALL_V2_ROOM;
use crate::{dashboard_views, wire};

/// The minimum interval between two metrics broadcasts, which reach every client each time, however
/// many clients connect.
const METRICS_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the periodic task for as long as the server runs.
pub(super) async fn run(gateway: Arc<GatewayShared>) {
    let mut ticks = interval(METRICS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cleaned = Instant::now();
    loop {
        ticks.tick().await;
        if gateway.clients_changed.swap(false, Ordering::Relaxed) {
            let metrics = dashboard_views::metrics_json(&gateway.rooms);
            gateway.rooms.broadcast(
                [ALL_V2_ROOM],
                &wire::dashboard_metrics_event(&metrics),
                None,
            );
        }
        if cleaned.elapsed() >= gateway.config.cleanup_interval {
            cleaned = Instant::now();
            let dismissed = disconnect_inactive(&gateway);
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
pub(super) fn disconnect_inactive(gateway: &GatewayShared) -> usize {
    let Some(inactive) = gateway.config.inactivity_limit else {
        return 0;
    };
    let now = gateway.rooms.clock.now();
    let is_over = |row: &dashboard_views::SocketRow| {
        now.duration_since(row.last_active).unsigned_abs() >= inactive && row.last_active < now
    };
    let over = dashboard_views::socket_rows(&gateway.rooms)
        .into_iter()
        .filter(is_over);
    over.filter(|row| gateway.rooms.event_bus.kick(row.id, "inactive"))
        .count()
}
