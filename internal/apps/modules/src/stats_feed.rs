//! The administrators' counts as a stream: one row under one key, read after a commit that changed
//! it and never by a timer.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use latido_hub::Hub;
use latido_stream::{Catalog, Inference, KeyRoute, SourceTable, Stream, ZoneRule};

use crate::service::ModuleService;

/// The name of the stream in the catalog, and in a `latido.toml` that replaces it.
pub(crate) const STATS_STREAM: &str = "modules_stats";
/// The only key of the stream.
const STATS_KEY: &str = "all";
/// The pause before the catalog is queried again, until the database has reported the key type.
const RESOLVE_RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Returns the stream that the app defines. It has no authorisation query, so only administrators
/// may watch it.
pub(crate) fn stream(zone: &str) -> Stream {
    let table = |table: &str, columns: &[&str]| SourceTable {
        name: table.to_owned(),
        route: KeyRoute::EveryKey,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
    };
    Stream {
        name: STATS_STREAM.to_owned(),
        query: include_str!("../../../../sql/apps/modules_stats.sql").to_owned(),
        verification: None,
        history_query: None,
        authorize_query: None,
        zone_rule: ZoneRule::Fixed(zone.to_owned()),
        event: STATS_STREAM.to_owned(),
        key_fields: vec!["key".to_owned()],
        params: Vec::new(),
        interval: None,
        tables: vec![
            table("modules", &["module_id", "type", "claimed"]),
            table("users", &["id"]),
        ],
        key_types: OnceLock::new(),
        inference: Inference::default(),
        revision: 0,
    }
}

/// Watches the stream's row and passes each new row to the service. Follows the stream that has the
/// name when another configuration is taken up.
pub(super) async fn watch_stats(office: Arc<ModuleService>, hub: Arc<Hub>, catalog: Arc<Catalog>) {
    if catalog.find(STATS_STREAM).is_none() {
        return;
    }
    let name = format!("{STATS_STREAM}:{STATS_KEY}");
    let mut reloads = hub.reloads();
    loop {
        let Ok(channel) = catalog.resolve(&name) else {
            sleep(RESOLVE_RETRY_PAUSE).await;
            continue;
        };
        // The stream has no parameters, and so no limit of their choices.
        let Ok(mut subscriber) = hub.subscribe_async(&channel) else {
            return;
        };
        while !catalog.is_retired(channel.topic.stream) {
            let frame = tokio::select! {
                frame = subscriber.next_frame() => frame,
                Ok(()) = reloads.changed() => continue,
            };
            let message: Value = serde_json::from_str(frame.frame.payload()).unwrap_or_default();
            if let Some(data) = message.get("data") {
                office.on_stats_row(data.clone());
            }
        }
    }
}
