//! Finds the tables that a catalog names in the database.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::pool::Database;
use crate::triggers::generate::{KeyColumn, WatchedTable};
use crate::triggers::renamed::add_renamed_columns;
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::{DiscoveryError, TableProblem};
use crate::watch_locks::probe_sql;
use latido_stream::{Catalog, KeyRoute, SourceTable, Stream};

/// Returns every table of every stream that can have triggers, and the problems of the others.
pub(crate) async fn discover_tables(
    database: &Database,
    catalog: &Catalog,
) -> Result<(Vec<WatchedTable>, Vec<TableProblem>), DatabaseError> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (_, stream) in catalog.iter() {
        for table in &stream.tables {
            match discover_table(database, stream, table).await {
                Ok(watched) if found.contains(&watched) => {}
                Ok(watched) => found.push(watched),
                Err(DiscoveryError::Table(problem)) => problems.push(problem),
                Err(DiscoveryError::Database(error)) => return Err(error),
            }
        }
    }
    Ok((found, problems))
}

/// Finds one table.
///
/// # Errors
/// Returns an error if the table cannot have the triggers that the stream needs, or if the database
/// fails.
pub(crate) async fn discover_table(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
) -> Result<WatchedTable, DiscoveryError> {
    let FoundTable {
        oid,
        schema,
        name,
        kind,
    } = find_table(database, stream, table).await?;
    let rows = query_rows(database, include_str!("find_columns.sql"), &oid, Type::OID).await?;
    let columns = string_pairs(&rows);
    let numbers: BTreeMap<String, i16> = rows
        .iter()
        .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(2).ok()?)))
        .collect();
    let (key, watched) = match choose_columns(stream, table, &columns) {
        Ok(chosen) => chosen,
        Err(problem) => {
            let problem = add_renamed_columns(database, problem, oid, &numbers).await?;
            return Err(problem.into());
        }
    };
    let relations = string_pairs(
        &query_rows(
            database,
            include_str!("find_relations.sql"),
            &oid,
            Type::OID,
        )
        .await?,
    );
    let plain = kind == "r" && relations.len() == 1 && key.is_some();
    let form = if plain && supports_row_triggers(database).await? {
        TriggerKind::Rows
    } else {
        TriggerKind::Statements
    };
    Ok(WatchedTable {
        instance: database.instance().clone(),
        stream: stream.name.clone(),
        schema,
        table: name,
        column_types: types_of(&columns, key.as_ref(), &watched),
        column_numbers: numbers
            .into_iter()
            .filter(|(name, _)| is_used(name, key.as_ref(), &watched))
            .collect(),
        key,
        change_columns: watched,
        relations,
        trigger_kind: form,
    })
}

/// A table as the database's catalog has it.
struct FoundTable {
    oid: u32,
    schema: String,
    name: String,
    /// One of `pg_class.relkind`.
    kind: String,
}

/// Finds a table by its name, in the search path if the name has no schema.
async fn find_table(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
) -> Result<FoundTable, DiscoveryError> {
    let sql = include_str!("find_table.sql");
    let rows = query_rows(database, sql, &table.name, Type::TEXT).await?;
    let found = rows.first().and_then(|row| {
        Some(FoundTable {
            oid: row.try_get::<_, Option<u32>>(0).ok()??,
            schema: row.try_get(1).ok()?,
            name: row.try_get(2).ok()?,
            kind: row.try_get(3).ok()?,
        })
    });
    let Some(found) = found else {
        let path: Option<String> = rows.first().and_then(|row| row.try_get(4).ok().flatten());
        return Err(TableProblem::NotFound {
            stream: stream.name.clone(),
            table: table.name.clone(),
            searched: path.unwrap_or_default(),
        }
        .into());
    };
    if let Some(kind) = unsupported_kind(&found.kind) {
        return Err(TableProblem::NotATable {
            stream: stream.name.clone(),
            table: table.name.clone(),
            kind,
        }
        .into());
    }
    Ok(found)
}

/// Returns the types of the key and of the listed columns.
fn types_of(has: &[(String, String)], key: Option<&KeyColumn>, listed: &[String]) -> Vec<String> {
    let used = has.iter().filter(|(name, _)| is_used(name, key, listed));
    used.map(|(_, data_type)| data_type.clone()).collect()
}

fn is_used(name: &String, key: Option<&KeyColumn>, listed: &[String]) -> bool {
    listed.contains(name) || key.is_some_and(|key| key.name == *name)
}

/// Finds a table that a part of the server other than a stream needs, as a stream's tables are
/// found. Returns its schema and name.
///
/// # Errors
/// Returns an error if there is no such table, or if the database fails.
pub(crate) async fn find_relation(
    database: &Database,
    part: &str,
    table: &str,
) -> Result<(String, String), DiscoveryError> {
    let rows = query_rows(database, include_str!("find_table.sql"), &table, Type::TEXT).await?;
    let text = |column: usize| {
        let row = rows.first()?;
        row.try_get::<_, Option<String>>(column).ok().flatten()
    };
    text(1).zip(text(2)).ok_or_else(|| {
        TableProblem::NotInstalled {
            part: part.to_owned(),
            table: table.to_owned(),
            searched: text(4).unwrap_or_default(),
        }
        .into()
    })
}

/// Returns whether row triggers may be used with the gate. They run as the writer, so every role
/// must have the right to call the functions that they use. That is PostgreSQL's default.
async fn supports_row_triggers(database: &Database) -> Result<bool, DatabaseError> {
    Ok(uses_gate(database).await? && query_bool(database, include_str!("find_rights.sql")).await?)
}

/// Returns whether triggers get the gate: if it is configured, and the database hashes keys as the
/// server does.
pub(super) async fn uses_gate(database: &Database) -> Result<bool, DatabaseError> {
    Ok(database.is_gated() && query_bool(database, &probe_sql()).await?)
}

async fn query_bool(database: &Database, sql: &str) -> Result<bool, DatabaseError> {
    let rows = database.query("a look at the tables", sql, &[]).await?;
    Ok(rows
        .first()
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or(false))
}

async fn query_rows(
    database: &Database,
    sql: &str,
    param: &(dyn tokio_postgres::types::ToSql + Sync),
    of: Type,
) -> Result<Vec<tokio_postgres::Row>, DatabaseError> {
    database
        .query("a look at the tables", sql, &[(param, of)])
        .await
}

fn string_pairs(rows: &[tokio_postgres::Row]) -> Vec<(String, String)> {
    rows.iter()
        .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)))
        .collect()
}

/// Returns the name of a `pg_class.relkind` that cannot have triggers with transition tables, or
/// `None` if it can.
fn unsupported_kind(kind: &str) -> Option<&'static str> {
    match kind {
        "r" | "p" => None,
        "v" => Some("a view"),
        "m" => Some("a materialized view"),
        "f" => Some("a foreign table"),
        _ => Some("no table"),
    }
}

/// Returns the key's column and the other columns, under their names in the table.
fn choose_columns(
    stream: &Stream,
    table: &SourceTable,
    has: &[(String, String)],
) -> Result<(Option<KeyColumn>, Vec<String>), TableProblem> {
    let find = |name: &String| {
        let lower = name.to_lowercase();
        has.iter()
            .find(|(own, _)| own == name)
            .or_else(|| has.iter().find(|(own, _)| *own == lower))
    };
    let key_columns: &[String] = match &table.route {
        KeyRoute::Columns(columns) => columns,
        KeyRoute::Lookup(_) | KeyRoute::EveryKey => &[],
    };
    let missing: Vec<_> = key_columns
        .iter()
        .chain(&table.columns)
        .filter(|name| find(name).is_none())
        .cloned()
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = has.iter().map(|(name, _)| name.as_str()).collect();
        return Err(TableProblem::NoColumn {
            stream: stream.name.clone(),
            table: table.name.clone(),
            missing: missing.join(", "),
            existing: names.join(", "),
            renamed: Vec::new(),
        });
    }
    let key = match key_columns.first().and_then(find) {
        None => None,
        Some((name, of)) => match of.as_str() {
            "uuid" | "int8" | "int4" | "int2" => Some(KeyColumn {
                name: name.clone(),
                is_text: false,
            }),
            "text" | "varchar" => Some(KeyColumn {
                name: name.clone(),
                is_text: true,
            }),
            _ => {
                return Err(TableProblem::KeyType {
                    stream: stream.name.clone(),
                    table: table.name.clone(),
                    column: name.clone(),
                    data_type: of.clone(),
                });
            }
        },
    };
    let columns = table
        .columns
        .iter()
        .filter_map(find)
        .map(|(name, _)| name.clone())
        .collect();
    Ok((key, columns))
}
