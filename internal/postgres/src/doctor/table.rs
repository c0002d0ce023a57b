//! Checks a stream's tables: their existence, their triggers, and an index for the query.

use tokio_postgres::types::Type;

use crate::doctor::finding::Finding;
use crate::doctor::stream::subject;
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::quote::{quote_ident, quote_qualified};
use crate::triggers::trigger_event::TriggerKind;
use crate::triggers::watched_table::WatchedTable;
use crate::triggers::{TriggerState, discover};
use latido_stream::{Catalog, SourceTable, Stream};

const INDEXES_SQL: &str = "SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text,
       ARRAY(SELECT coalesce(a.attname::pg_catalog.text, '') FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (n, place)
             LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) k.n
             ORDER BY k.place)
FROM pg_catalog.pg_index i
WHERE i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1) AND i.indisvalid AND i.indpred IS NULL";

/// Reads whether a table is partitioned and whether replication fills it. A partitioned table
/// cannot have an index made CONCURRENTLY; a replicated table fires no statement triggers.
const TABLE_KIND_SQL: &str =
    "SELECT c.relkind OPERATOR(pg_catalog.=) 'p',
       EXISTS (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid OPERATOR(pg_catalog.=) c.oid)
FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)";

pub(super) async fn trigger_findings(database: &Database, catalog: &Catalog) -> Vec<Finding> {
    let found = match database.triggers(catalog).await {
        Ok(found) => found,
        Err(error) => return vec![Finding::failure("triggers", error.to_string())],
    };
    let one = |table: &crate::TableTriggers| {
        let subject = subject(
            catalog.get(table.stream),
            &format!("triggers on {}", table.table),
        );
        match (&table.problem, table.state) {
            (Some(problem), _) => Finding::failure(subject, problem.to_string()),
            (None, TriggerState::Current) if !table.strays.is_empty() => {
                let names = table.strays.join(", ");
                let detail = format!("current, but also on {names}, which should have none");
                Finding::warning(subject, detail).remedy("run `latido install`")
            }
            (None, TriggerState::Current) => {
                Finding::ok(subject, "current, on the table and all its partitions")
            }
            (None, TriggerState::NotAlways) => Finding::warning(
                subject,
                "they fire, but not in sessions with session_replication_role = replica, as restore and replication tools set it",
            )
            .remedy("run `latido install`"),
            (None, TriggerState::Outdated) => Finding::failure(
                subject,
                "some are missing, disabled, or of another version: changes go unnoticed",
            )
            .remedy("run `latido install`"),
            (None, TriggerState::Missing) => {
                Finding::failure(subject, "none: only the hook and the sweep find changes")
                    .remedy("run `latido install`")
            }
        }
    };
    let mut findings: Vec<_> = found.tables.iter().map(one).collect();
    // An entry with a mistake may need its functions; `latido install` would refuse before it removes
    // them.
    let unusable = found.tables.iter().filter(|table| table.problem.is_some());
    let unusable: Vec<_> = unusable
        .map(|table| format!("{}_", catalog.get(table.stream).name))
        .collect();
    let is_certain = |name: &String| !unusable.iter().any(|prefix| name.starts_with(prefix));
    for name in found.unused_functions.into_iter().filter(is_certain) {
        let instance = database.instance();
        let detail = format!("function {instance}.{name} belongs to no table that is configured");
        findings.push(
            Finding::warning("triggers", detail).remedy("run `latido install`, which removes it"),
        );
    }
    findings
}

pub(super) async fn examine(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
) -> Vec<Finding> {
    // A problem with the table itself is already part of its trigger finding.
    let Ok(watched) = discover::discover_table(database, stream, table).await else {
        return Vec::new();
    };
    let of = subject(stream, &format!("index on {}", table.name));
    match read_table_facts(database, &watched).await {
        Ok(facts) => table_findings(stream, table, &watched, &facts),
        Err(error) => vec![Finding::failure(of, error.to_string())],
    }
}

struct TableFacts {
    is_partitioned: bool,
    is_replicated: bool,
    /// The indexes with name and columns, in order; an expression is an empty name.
    indexes: Vec<(String, Vec<String>)>,
}

async fn read_table_facts(
    database: &Database,
    watched: &WatchedTable,
) -> Result<TableFacts, DatabaseError> {
    let name = watched.qualified_name();
    let kind = database
        .query("the doctor", TABLE_KIND_SQL, &[(&name, Type::TEXT)])
        .await?;
    let flag = |column| {
        kind.first()
            .and_then(|row| row.try_get(column).ok())
            .unwrap_or_default()
    };
    let indexes = database
        .query("the doctor", INDEXES_SQL, &[(&name, Type::TEXT)])
        .await?;
    let indexes = indexes
        .iter()
        .filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)))
        .collect();
    Ok(TableFacts {
        is_partitioned: flag(0),
        is_replicated: flag(1),
        indexes,
    })
}

fn table_findings(
    stream: &Stream,
    table: &SourceTable,
    watched: &WatchedTable,
    facts: &TableFacts,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.is_replicated && watched.trigger_kind == TriggerKind::Statements {
        let detail =
            "logical replication writes this table, and its worker fires no statement triggers";
        let of = subject(stream, &format!("triggers on {}", table.name));
        findings.push(Finding::warning(of, detail).remedy("call the hook, or rely on the sweep"));
    }
    if let Some(note) = watched.left_out_note() {
        let of = subject(stream, &format!("triggers on {}", table.name));
        let remedy =
            "write to the partitions by their own names, call the hook, or rely on the sweep";
        findings.push(Finding::warning(of, note).remedy(remedy));
    }
    let keys: Vec<_> = watched.key_columns().iter().map(|key| &key.name).collect();
    if keys.is_empty() {
        return findings;
    }
    let mut columns: Vec<_> = keys.iter().map(|name| (*name).clone()).collect();
    let others = watched.change_columns.iter();
    columns.extend(others.filter(|name| !keys.contains(name)).cloned());
    let quoted: Vec<_> = columns.iter().map(|name| quote_ident(name)).collect();
    let how = if facts.is_partitioned {
        "INDEX"
    } else {
        "INDEX CONCURRENTLY"
    };
    let create = format!(
        "CREATE {how} ON {} ({});",
        quote_qualified(&watched.schema, &watched.table),
        quoted.join(", ")
    );
    let of = subject(stream, &format!("index on {}", table.name));
    let leads = |index: &&(String, Vec<String>)| {
        let first = index.1.get(..keys.len());
        first.is_some_and(|first| keys.iter().all(|name| first.contains(name)))
    };
    let covers = |index: &&(String, Vec<String>)| columns.iter().all(|name| index.1.contains(name));
    findings.push(match (facts.indexes.iter().filter(leads).find(covers), facts.indexes.iter().find(leads)) {
        (Some((name, _)), _) => Finding::ok(of, format!("{name} answers alone")),
        (None, Some((name, _))) => {
            let detail =
                format!("{name} finds the rows; an index with all the columns would answer alone (writers lose some 8 %)");
            Finding::ok(of, detail).remedy(create)
        }
        (None, None) => {
            let keys: Vec<_> = keys.into_iter().map(String::as_str).collect();
            Finding::warning(of, format!("no index begins with {}: every read scans the table", keys.join(", "))).remedy(create)
        }
    });
    findings
}
