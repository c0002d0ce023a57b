//! Finds the tables that a catalog names in the database.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::key_kind::KeyKind;
use crate::pool::Database;
use crate::statement_text::single_statement;
use crate::triggers::key_part::KeyColumn;
use crate::triggers::lookup_facts::examine_lookup;
use crate::triggers::move_key::resolve_moves;
use crate::triggers::renamed::add_renamed_columns;
use crate::triggers::table_route::{Gate, TableLookup, TableRoute};
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::watched_table::{Inheritance, WatchedTable};
use crate::triggers::{DiscoveryError, TableProblem};
use crate::watch_locks::probe_sql;
use latido_stream::{Catalog, KeyRoute, SourceTable, Stream};

/// The purpose of the statements, for messages.
pub(super) const WHAT: &str = "a look at the tables";

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

/// Returns what [`discover_tables`] does, with what the database says about each lookup. That needs
/// the right to create temporary tables.
pub(super) async fn discover_with_lookups(
    database: &Database,
    catalog: &Catalog,
) -> Result<(Vec<WatchedTable>, Vec<TableProblem>), DatabaseError> {
    let (mut found, mut problems) = discover_tables(database, catalog).await?;
    for table in &mut found {
        match add_facts(database, catalog, table).await {
            Ok(()) => {}
            Err(DiscoveryError::Table(problem)) => problems.push(problem),
            Err(DiscoveryError::Database(error)) => return Err(error),
        }
    }
    resolve_moves(&mut found);
    Ok((found, problems))
}

/// Adds what the database says about the lookup of a table, if it has one.
pub(crate) async fn add_facts(
    database: &Database,
    catalog: &Catalog,
    table: &mut WatchedTable,
) -> Result<(), DiscoveryError> {
    let (Some(lookup), Some(id)) = (table.lookup(), catalog.find(&table.stream)) else {
        return Ok(());
    };
    let fields = &catalog.get(id).key_fields;
    let facts = examine_lookup(database, table, lookup, fields).await?;
    *table = table.with_facts(Some(facts));
    Ok(())
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
    let kinds = key_kinds(&rows);
    let numbers: BTreeMap<String, i16> = rows
        .iter()
        .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(2).ok()?)))
        .collect();
    let (route, watched) = match choose_columns(database, stream, table, &columns, &kinds) {
        Ok(chosen) => chosen,
        Err(problem) => {
            let problem = add_renamed_columns(database, problem, oid, &numbers).await?;
            return Err(problem.into());
        }
    };
    let sql = include_str!("find_relations.sql");
    let relations = string_pairs(&query_rows(database, sql, &oid, Type::OID).await?);
    let is_plain = kind == "r" && relations.len() == 1;
    let access = GateAccess::read(database).await?;
    let trigger_kind = match &route {
        TableRoute::Columns(_) if is_plain && access.is_for_rows => TriggerKind::Rows,
        // A worker of logical replication fires row triggers alone.
        TableRoute::Lookup(_) if is_plain && is_replicated(database, oid).await? => {
            TriggerKind::Rows
        }
        _ => TriggerKind::Statements,
    };
    let inheritance = Inheritance::find(database, oid, &columns, &route, &watched).await?;
    let is_used = |name: &String| {
        let is_key =
            matches!(&route, TableRoute::Columns(key) if key.iter().any(|key| key.name == *name));
        is_key || watched.contains(name)
    };
    let types = columns.iter().filter(|(name, _)| is_used(name));
    let column_types = types.map(|(_, data_type)| data_type.clone()).collect();
    let column_numbers = numbers.into_iter().filter(|(name, _)| is_used(name));
    Ok(WatchedTable {
        instance: database.instance().clone(),
        stream: stream.name.clone(),
        schema,
        table: name,
        column_types,
        column_numbers: column_numbers.collect(),
        gate: access.gate,
        route,
        change_columns: watched,
        relations,
        inheritance,
        part: None,
        trigger_kind,
    })
}

/// Returns the columns that can hold keys, from the rows of `find_columns.sql`.
fn key_kinds(rows: &[tokio_postgres::Row]) -> BTreeMap<String, KeyKind> {
    rows.iter()
        .filter_map(|row| {
            let kind = KeyKind::of_column(row.try_get(3).ok()?);
            Some((row.try_get(0).ok()?, kind?))
        })
        .collect()
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

/// What every role may do about the gate.
struct GateAccess {
    gate: Gate,
    /// True if row triggers may be used with the gate. They run as the writer, so every role must
    /// have the right to call the functions that they use. That is PostgreSQL's default.
    is_for_rows: bool,
}

impl GateAccess {
    async fn read(database: &Database) -> Result<Self, DatabaseError> {
        if !uses_gate(database).await? {
            return Ok(Self {
                gate: Gate::None,
                is_for_rows: false,
            });
        }
        Ok(Self {
            gate: Gate::InWhen,
            is_for_rows: query_bool(database, include_str!("find_rights.sql")).await?,
        })
    }
}

/// Returns whether logical replication writes a table.
async fn is_replicated(database: &Database, table: u32) -> Result<bool, DatabaseError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid OPERATOR(pg_catalog.=) $1)";
    let rows = query_rows(database, sql, &table, Type::OID).await?;
    Ok(rows
        .first()
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or(false))
}

/// Returns whether triggers get the gate: if it is configured, and the database hashes keys as the
/// server does.
pub(super) async fn uses_gate(database: &Database) -> Result<bool, DatabaseError> {
    Ok(database.is_gated() && query_bool(database, &probe_sql()).await?)
}

async fn query_bool(database: &Database, sql: &str) -> Result<bool, DatabaseError> {
    let rows = database.query(WHAT, sql, &[]).await?;
    Ok(rows
        .first()
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or(false))
}

pub(super) async fn query_rows(
    database: &Database,
    sql: &str,
    param: &(dyn tokio_postgres::types::ToSql + Sync),
    of: Type,
) -> Result<Vec<tokio_postgres::Row>, DatabaseError> {
    database.query(WHAT, sql, &[(param, of)]).await
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

/// Returns the way to the keys and the columns that count, under their names in the table.
fn choose_columns(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
    has: &[(String, String)],
    kinds: &BTreeMap<String, KeyKind>,
) -> Result<(TableRoute, Vec<String>), TableProblem> {
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
    let route = match &table.route {
        KeyRoute::EveryKey => TableRoute::EveryKey,
        KeyRoute::Lookup(sql) => TableRoute::Lookup(TableLookup {
            // Several statements are refused when the lookup is examined.
            sql: single_statement(sql).unwrap_or(sql).trim().to_owned(),
            path_sql: database.direct_endpoint().local_settings(),
            facts: None,
        }),
        KeyRoute::Columns(columns) => {
            let key = columns.iter().filter_map(find).map(|(name, of)| {
                let kind = kinds.get(name).copied();
                let kind = kind.ok_or_else(|| TableProblem::KeyType {
                    stream: stream.name.clone(),
                    table: table.name.clone(),
                    column: name.clone(),
                    data_type: of.clone(),
                })?;
                Ok(KeyColumn {
                    name: name.clone(),
                    kind,
                })
            });
            TableRoute::Columns(key.collect::<Result<_, _>>()?)
        }
    };
    let columns = table.columns.iter().filter_map(find);
    let mut columns: Vec<_> = columns.map(|(name, _)| name.clone()).collect();
    if let TableRoute::Columns(key) = &route
        && !columns.is_empty()
    {
        // A row that goes to another key concerns both, also if the key's columns are not listed.
        let others = key
            .iter()
            .filter(|part| !table.columns.contains(&part.name));
        let others: Vec<_> = others.map(|part| part.name.clone()).collect();
        columns.extend(others);
    }
    Ok((route, columns))
}
