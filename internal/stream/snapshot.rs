//! One row at one moment of the database.

use std::sync::Arc;

use crate::ident::{Key, Version};

/// What the stream's query said of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The key, canonical.
    pub key: Key,
    /// The data columns as Postgres' own JSON object text, column order kept.
    pub columns: String,
    /// The database's clock at the read, microseconds since the Unix epoch.
    pub clock_us: i64,
}

/// A row that was published, with its place in the topic's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Strictly increases within a topic.
    pub version: Version,
    /// When it was read, whole seconds since the Unix epoch, by the database's clock.
    pub timestamp_s: i64,
    /// JSON object text. Equality of this text decides whether anything is sent.
    pub columns: Arc<str>,
}

impl Snapshot {
    /// The snapshot that follows one of version `previous`.
    pub fn after(previous: Version, row: &Row) -> Self {
        Self {
            version: previous.next(row.clock_us),
            timestamp_s: row.clock_us.div_euclid(1_000_000),
            columns: row.columns.as_str().into(),
        }
    }
}
