//! The tables of a stream whose keys can be missed, with the SQL that finds keys.

use std::collections::BTreeMap;

use crate::error::DatabaseError;
use crate::key_kind::KeyKind;
use crate::key_lookup::lookup_columns;
use crate::pool::Database;
use crate::query_reads::QueryReadsError;
use crate::triggers::key_part::{has_key_sql, texts_sql};
use crate::triggers::recorded_reads::defining_query;
use crate::triggers::{DiscoveryError, discover};
use latido_inference::ReadColumns;
use latido_stream::{KeyRoute, Stream};

/// A table with all its entries.
#[derive(Debug)]
pub(super) struct RoutedTable {
    /// The name as configured.
    pub(super) configured: String,
    pub(super) schema: String,
    pub(super) name: String,
    /// The columns that the query reads. `None` means all.
    pub(super) columns: Option<Vec<String>>,
    pub(super) routes: Vec<Route>,
}

/// One way from rows of `changed` to keys: a SELECT that returns an array of the key's texts.
#[derive(Debug)]
pub(super) enum Route {
    /// It reads `changed` alone.
    Columns(String),
    /// It contains a query of a person, whose names must be made to mean the copies.
    Lookup(String),
}

/// Returns the tables of a stream, each with all its routes. An entry that cannot be used, such as one
/// whose lookup is refused, is left out: it has no triggers, which is a finding of its own.
///
/// # Errors
/// Returns an error if the database fails.
pub(super) async fn routes_of(
    database: &Database,
    stream: &Stream,
) -> Result<Vec<RoutedTable>, DatabaseError> {
    let read = read_columns(database, stream).await?;
    let mut found: BTreeMap<(String, String), RoutedTable> = BTreeMap::new();
    let mut always_right = Vec::new();
    for entry in &stream.tables {
        let watched = match discover::discover_table(database, stream, entry).await {
            Ok(watched) => watched,
            Err(DiscoveryError::Table(_)) => continue,
            Err(DiscoveryError::Database(error)) => return Err(error),
        };
        let name = (watched.schema.clone(), watched.table.clone());
        let route = match &entry.route {
            KeyRoute::EveryKey => {
                always_right.push(name);
                continue;
            }
            KeyRoute::Columns(_) => {
                let columns = watched.key_columns();
                let (texts, present) = (texts_sql(columns, "c"), has_key_sql(columns, "c"));
                Route::Columns(format!("SELECT {texts} FROM changed AS c WHERE {present}"))
            }
            KeyRoute::Lookup(sql) => {
                let Some(columns) = lookup_columns(database, entry, sql).await? else {
                    continue;
                };
                let kinds = columns.iter().map(|(_, of)| KeyKind::of_type(of));
                let kinds: Option<Vec<_>> = kinds.collect();
                let Some(kinds) = kinds else { continue };
                Route::Lookup(lookup_sql(sql, &kinds))
            }
        };
        let columns = read.get(&name).cloned().unwrap_or_default();
        found
            .entry(name.clone())
            .or_insert_with(|| RoutedTable {
                configured: entry.name.clone(),
                schema: name.0,
                name: name.1,
                columns,
                routes: Vec::new(),
            })
            .routes
            .push(route);
    }
    found.retain(|name, _| !always_right.contains(name));
    Ok(found.into_values().collect())
}

fn lookup_sql(sql: &str, kinds: &[KeyKind]) -> String {
    let names: Vec<_> = (1..=kinds.len()).map(|n| format!("k{n}")).collect();
    let texts: Vec<_> = names
        .iter()
        .zip(kinds)
        .map(|(name, kind)| kind.text_sql(&format!("v.{name}")))
        .collect();
    let sql = crate::statement_text::single_statement(sql).unwrap_or(sql);
    format!(
        "SELECT ARRAY[{}]::pg_catalog.text[] FROM (\n{sql}\n) AS v ({})",
        texts.join(", "),
        names.join(", ")
    )
}

/// Returns the columns that the query reads, by schema and name of the table.
async fn read_columns(
    database: &Database,
    stream: &Stream,
) -> Result<BTreeMap<(String, String), Option<Vec<String>>>, DatabaseError> {
    let reads = match database.query_reads(defining_query(stream)).await {
        Ok(reads) => reads.tables,
        Err(QueryReadsError::Database(error)) => return Err(error),
        // Then all columns are changed.
        Err(_) => Vec::new(),
    };
    let columns = |columns| match columns {
        ReadColumns::Named(names) => Some(names.into_iter().collect()),
        ReadColumns::WholeRow => None,
    };
    Ok(reads
        .into_iter()
        .map(|table| ((table.schema, table.name), columns(table.columns)))
        .collect())
}
