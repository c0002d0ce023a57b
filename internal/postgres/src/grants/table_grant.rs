//! A privilege as a part of the server names it, before the table is found.

/// A privilege on a table that a part of the server names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableGrant {
    /// The table's name, with or without a schema.
    pub table: &'static str,
    /// The privilege: `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
    pub privilege: &'static str,
    /// The columns that are needed; empty means all, which DELETE requires.
    pub columns: &'static [&'static str],
}

impl TableGrant {
    /// Creates a privilege; without columns it covers the whole table.
    pub const fn new(
        table: &'static str,
        privilege: &'static str,
        columns: &'static [&'static str],
    ) -> Self {
        Self {
            table,
            privilege,
            columns,
        }
    }
}
