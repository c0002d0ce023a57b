//! The result of a stream's history query for one topic.

use latido_base::ident::Key;

/// The limits of one topic's history. Rows beyond them are left out at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// The largest number of rows.
    pub rows: u32,
    /// The largest size of all rows as JSON, in bytes.
    pub bytes: u32,
}

/// The rows of the history of one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicHistory {
    /// The canonical key of the topic.
    pub key: Key,
    /// The rows in the order of the query: JSON objects as Postgres wrote them, separated by commas.
    pub rows: String,
    /// The number of rows.
    pub count: usize,
    /// True if the query has more rows than the limits allow.
    pub is_truncated: bool,
}

impl TopicHistory {
    /// Returns the history of a topic without rows.
    pub fn empty(key: Key) -> Self {
        Self {
            key,
            rows: String::new(),
            count: 0,
            is_truncated: false,
        }
    }
}
