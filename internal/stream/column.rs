//! What a stream's query yields beside the key, as JSON tells it.

/// A data column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the query as in the frames.
    pub name: String,
    /// What stands there unless it is null.
    pub kind: ColumnKind,
}

/// The type of a value in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// `smallint`, `integer`, `bigint`
    Integer,
    /// `real`, `double precision`, `numeric`
    Number,
    /// `boolean`
    Boolean,
    /// Whatever Postgres writes as a text: dates, UUIDs, enums…
    Text,
    /// `json`, arrays, composites
    Any,
}
