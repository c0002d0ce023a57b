//! What a query that is no stream yet reads, as a person is told before anything is installed.
//! Nothing is created or written: every transaction is read only.

use std::collections::BTreeSet;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::quote::{quote_ident, quote_qualified};
use crate::read_gap::ReadTable;
use crate::row_security::RowSecurity;
use latido_base::ident::Key;
use latido_inference::{Note, QueryReads, ReadColumns, TableReads};
use latido_stream::Stream;

/// The rows of a table in which example keys are searched.
const EXAMPLE_ROWS: u32 = 1_000;
/// The most example keys.
const EXAMPLES: usize = 8;

/// What a query reads, and how far the role sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryPreview {
    /// The tables, views replaced by what they read.
    pub tables: Vec<PreviewedTable>,
    /// Remarks about how the query reads, as phrases.
    pub notes: Vec<String>,
    /// What the role or this examination cannot see, as phrases.
    pub unseen: Vec<String>,
}

/// A table that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewedTable {
    /// The name, with its schema unless that is `public`.
    pub name: String,
    /// The names of the columns, separated by commas; `*` for every column.
    pub columns: String,
    /// The name as SQL.
    quoted: String,
    /// The names of the columns, empty for every column.
    names: BTreeSet<String>,
}

/// The number of rows that a query returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowCount {
    /// No row or one.
    AtMostOne,
    /// Several rows, and the first column tells them apart.
    DistinctFirstColumn,
    /// Several rows that the first column does not tell apart.
    Several,
}

impl Database {
    /// Examines what a query reads, without creating anything.
    ///
    /// # Errors
    /// Returns an error if the query writes or locks rows, if its tree is not understood, or if the
    /// database fails.
    pub async fn query_preview(&self, query: &str) -> Result<QueryPreview, QueryReadsError> {
        let QueryReads { tables, notes, .. } = self.printed_query_reads(query).await?;
        let role = self.role_name().await?;
        let mut preview = QueryPreview::default();
        for table in &tables {
            let read = PreviewedTable::new(table);
            let name = &read.name;
            if !self.may_select(table.oid).await? {
                let columns = &read.columns;
                preview.unseen.push(format!(
                    "the role {role} has no SELECT on {name} ({columns}): it works only through a view or function whose owner has; \
                     else GRANT SELECT ON {} TO {}",
                    read.quoted,
                    quote_ident(&role)
                ));
            }
            if RowSecurity::of_table(self, table.oid).await? == Some(RowSecurity::HidesRows) {
                preview.unseen.push(format!(
                    "row-level security applies to {name}: rows that its policies hide from the role {role} are not counted"
                ));
            }
            preview.tables.push(read);
        }
        for note in &notes {
            match note {
                Note::Hidden(name) => preview.unseen.push(format!(
                    "the function {name} hides which tables it reads; only `latido install` looks into functions in SQL"
                )),
                Note::Outside(_) => preview.unseen.push(note.to_string()),
                // Said above, for this role.
                Note::Policy(_) => {}
                _ => preview.notes.push(note.to_string()),
            }
        }
        Ok(preview)
    }

    /// Returns the name of the role that reads.
    async fn role_name(&self) -> Result<String, DatabaseError> {
        let sql = "SELECT CURRENT_USER::pg_catalog.text";
        let rows = self.query("a look at the role", sql, &[]).await?;
        let row = rows.first();
        Ok(row.and_then(|row| row.try_get(0).ok()).unwrap_or_default())
    }

    async fn may_select(&self, table: u32) -> Result<bool, DatabaseError> {
        let sql = "SELECT pg_catalog.has_any_column_privilege($1, 'SELECT'::pg_catalog.text)";
        let params = [(&table as _, Type::OID)];
        let rows = self.query("a look at the rights", sql, &params).await?;
        let row = rows.first();
        Ok(row.and_then(|row| row.try_get(0).ok()).unwrap_or_default())
    }

    /// Counts the rows of a query without parameters, as far as it matters. The query runs once or
    /// twice.
    ///
    /// # Errors
    /// Returns an error if the query fails, or if the database does.
    pub async fn row_count(
        &self,
        query: &str,
        first_column: &str,
    ) -> Result<RowCount, DatabaseError> {
        let what = "the query";
        let query = query.trim_end();
        let sql = format!("SELECT 1 FROM (\n{query}\n) AS q LIMIT 2");
        if self.query(what, &sql, &[]).await?.len() < 2 {
            return Ok(RowCount::AtMostOne);
        }
        let column = quote_ident(first_column);
        let sql = format!(
            "SELECT 1 FROM (\n{query}\n) AS q GROUP BY q.{column} HAVING count(*) > 1 OR q.{column} IS NULL LIMIT 1"
        );
        // A type without an equality is no key.
        Ok(match self.query(what, &sql, &[]).await {
            Ok(rows) if rows.is_empty() => RowCount::DistinctFirstColumn,
            Err(error @ DatabaseError::Unavailable { .. }) => return Err(error),
            _ => RowCount::Several,
        })
    }

    /// Returns some keys of a prepared stream, without parameters, as a channel's name writes them.
    /// They come from the first rows of a table with columns of the keys' names. Returns none if
    /// there is no such table, or if it cannot be read.
    pub async fn example_keys(&self, stream: &Stream, tables: &[PreviewedTable]) -> Vec<String> {
        let fields = &stream.key_fields;
        let has_keys = |table: &&PreviewedTable| fields.iter().all(|key| table.names.contains(key));
        if fields.is_empty() {
            return Vec::new();
        }
        for table in tables.iter().filter(has_keys) {
            let keys = self.keys_in(stream, table).await.unwrap_or_default();
            if !keys.is_empty() {
                return keys;
            }
        }
        Vec::new()
    }

    async fn keys_in(
        &self,
        stream: &Stream,
        table: &PreviewedTable,
    ) -> Result<Vec<String>, DatabaseError> {
        let names: Vec<_> = stream
            .key_fields
            .iter()
            .map(|key| quote_ident(key))
            .collect();
        let texts = names
            .iter()
            .map(|name| format!("r.{name}::pg_catalog.text"));
        let texts = texts.collect::<Vec<_>>().join(", ");
        let sql = format!(
            "SELECT DISTINCT ARRAY[{texts}] FROM (SELECT {} FROM {} LIMIT {EXAMPLE_ROWS}) AS r ORDER BY 1",
            names.join(", "),
            table.quoted
        );
        let rows = self.query("a look for keys", &sql, &[]).await?;
        let types = stream.key_types.get().cloned().unwrap_or_default();
        let key = |row: &tokio_postgres::Row| -> Option<Key> {
            let parts: Vec<String> = row.try_get(0).ok()?;
            stream.canonical_key(&types, &parts).ok()
        };
        let keys = rows.iter().filter_map(key).take(EXAMPLES);
        Ok(keys.map(|key| stream.write_key(&key)).collect())
    }
}

impl PreviewedTable {
    fn new(table: &TableReads) -> Self {
        let TableReads { schema, name, .. } = table;
        Self {
            name: ReadTable::from_reads(table).name(),
            columns: match &table.columns {
                ReadColumns::Named(names) if names.is_empty() => "the number of rows".to_owned(),
                columns => columns.to_string(),
            },
            quoted: quote_qualified(schema, name),
            names: match &table.columns {
                ReadColumns::Named(names) => names.clone(),
                ReadColumns::WholeRow => BTreeSet::new(),
            },
        }
    }
}
