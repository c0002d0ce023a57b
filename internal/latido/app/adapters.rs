//! The connections between parts that only the wiring knows.

use std::sync::Arc;

use latido_app_kit::Notification;
use latido_stream::{ChangeHint, HintSink};
use latido_telemetry::{Metrics, RecentEventKind};

use super::notification_routes::NotificationRoutes;

/// Returns the callback that passes change hints from the LISTEN connection to the engine and the
/// apps, and records its state.
pub(super) fn forward_hints(
    engine: impl HintSink + 'static,
    metrics: Arc<Metrics>,
    apps: NotificationRoutes,
) -> impl Fn(ChangeHint) + Send + Sync + 'static {
    let record = move |state| {
        let events = &metrics.recent_events;
        events.record(RecentEventKind::Listener, state, None);
    };
    move |hint| {
        match &hint {
            ChangeHint::Everything(None) => apps.notify_all(Notification::Changed),
            ChangeHint::Lost => {
                record("lost");
                apps.notify_all(Notification::Lost);
            }
            ChangeHint::Listening => {
                record("listening");
                apps.notify_all(Notification::Listening);
            }
            ChangeHint::NotDelivering => {
                record("deaf");
                apps.notify_all(Notification::NotDelivering);
            }
            ChangeHint::App(name) => apps.notify_app(name),
            ChangeHint::Payloads { channel, payloads } => {
                apps.notify_channel(channel, payloads.as_deref());
            }
            ChangeHint::Changed { .. } | ChangeHint::Moved { .. } | ChangeHint::Everything(_) => {}
        }
        engine.on_hint(&hint);
    }
}
