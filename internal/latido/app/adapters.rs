//! The connections between parts that only the wiring knows.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use latido_app_kit::FeedTrigger;
use latido_app_messaging as messaging;
use latido_demo::SqlExecutor;
use latido_postgres::ScriptRunner;
use latido_stream::{ChangeHint, HintSink};
use latido_telemetry::{Metrics, RecentEventKind};

/// Lets the demo write to PostgreSQL.
pub(super) struct PostgresScripts(pub(super) ScriptRunner);

impl SqlExecutor for PostgresScripts {
    fn execute<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, anyhow::Result<u64>> {
        Box::pin(async move { Ok(self.0.execute(sql).await?) })
    }
}

/// Returns the callback that passes change hints from the LISTEN connection to the engine and the
/// messaging app, and records its state.
pub(super) fn forward_hints(
    engine: impl HintSink + 'static,
    metrics: Arc<Metrics>,
    messaging: FeedTrigger,
) -> impl Fn(ChangeHint) + Send + Sync + 'static {
    let record = move |state| {
        let events = &metrics.recent_events;
        events.record(RecentEventKind::Listener, state, None);
    };
    move |hint| {
        match &hint {
            ChangeHint::Everything(None) => messaging.notify(),
            ChangeHint::Lost => record("lost"),
            ChangeHint::Listening => record("listening"),
            ChangeHint::NotDelivering => record("deaf"),
            ChangeHint::App(app) if app == messaging::NAME => messaging.notify(),
            ChangeHint::Changed { .. } | ChangeHint::Everything(_) | ChangeHint::App(_) => {}
        }
        match &hint {
            ChangeHint::Listening => messaging.set_listening(true),
            ChangeHint::Lost | ChangeHint::NotDelivering => messaging.set_listening(false),
            _ => {}
        }
        engine.on_hint(&hint);
    }
}
