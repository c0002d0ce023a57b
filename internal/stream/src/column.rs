//! The data columns of a stream's query and their JSON types.

/// A data column of a stream's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The column's name, in the query and in the frames.
    pub name: String,
    /// The JSON type of its values; null is always possible.
    pub kind: ColumnKind,
    /// The name of its type in PostgreSQL, such as `int8`. A domain has that of its base type.
    pub sql_type: String,
}

/// The JSON type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// An integer: `smallint`, `integer` or `bigint`.
    Integer,
    /// A number: `real`, `double precision` or `numeric`.
    Number,
    /// A JSON boolean: the type `boolean`.
    Boolean,
    /// A string: every type that Postgres writes as text, such as dates, UUIDs and enums.
    Text,
    /// Any JSON value: `json`, arrays and composite types.
    Any,
}
