//! Administrators' counts are a stream like any other: one row under one key, read when a commit changed it and never by the clock.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::hub::Hub;
use crate::stream::{Catalog, Stream, Table, ZoneRule};

use crate::apps::modules::office::Office;

/// Name of the stream, in the catalog and in a `latido.toml` that replaces it.
pub const STATS_STREAM: &str = "modules_stats";
/// The one key.
const KEY: &str = "all";
/// How soon the catalog is asked again, until the database has said what type the keys have.
const RETRY: Duration = Duration::from_millis(500);

/// The stream that the app brings. Only administrators may watch it: it has no statement that authorises anybody.
pub fn stream(zone: &str) -> Stream {
    let table = |table: &str, columns: &[&str]| Table {
        table: table.to_owned(),
        key: None,
        columns: columns.iter().map(|&column| column.to_owned()).collect(),
    };
    Stream {
        name: STATS_STREAM.to_owned(),
        query: include_str!("../../../sql/apps/modules_stats.sql").to_owned(),
        check: None,
        authorize: None,
        zone: ZoneRule::Fixed(zone.to_owned()),
        event: STATS_STREAM.to_owned(),
        key_field: "key".to_owned(),
        tables: vec![
            table("modules", &["module_id", "type", "claimed"]),
            table("users", &["id"]),
        ],
        key_type: OnceLock::new(),
    }
}

/// Watches the row for as long as it is polled.
pub(super) async fn follow(office: Arc<Office>, hub: Arc<Hub>, catalog: Arc<Catalog>) {
    if catalog.find(STATS_STREAM).is_none() {
        return;
    }
    let name = format!("{STATS_STREAM}:{KEY}");
    let channel = loop {
        match catalog.resolve(&name) {
            Ok(channel) => break channel,
            Err(_) => sleep(RETRY).await,
        }
    };
    let mut watcher = hub.watch(&channel);
    loop {
        let frame = watcher.next_frame().await;
        let message: Value = serde_json::from_str(frame.frame.payload()).unwrap_or_default();
        if let Some(data) = message.get("data") {
            office.counted(data.clone());
        }
    }
}
