//! The result of a stream's query for one key at one moment.

use std::sync::Arc;

use latido_base::ident::{Key, Version};

/// One row of the stream's query, with the data of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The canonical key of the row.
    pub key: Key,
    /// The data columns as the JSON object text that Postgres wrote, in column order.
    pub columns: String,
    /// The database's clock at the read, in microseconds since the Unix epoch.
    pub clock_us: i64,
}

/// A published row, with its position among the snapshots of its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version, which strictly increases within a topic.
    pub version: Version,
    /// The time of the read by the database's clock, in whole seconds since the Unix epoch.
    pub timestamp_s: i64,
    /// The JSON object text. A new snapshot is published only if this text differs.
    pub columns: Arc<str>,
}

impl Snapshot {
    /// Creates the snapshot that follows one of version `previous`.
    pub fn after(previous: Version, row: &StreamRow) -> Self {
        Self {
            version: previous.next(row.clock_us),
            timestamp_s: row.clock_us.div_euclid(1_000_000),
            columns: row.columns.as_str().into(),
        }
    }
}
