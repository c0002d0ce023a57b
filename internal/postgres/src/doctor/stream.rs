//! Checks a stream's query: its form, plan and duration, and its permission query.

use jiff::civil::date;
use jiff::tz::TimeZone;
use serde_json::Value;
use tokio_postgres::types::{FromSql, Type};

use crate::doctor::finding::Finding;
use crate::doctor::partitions;
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::prepared_stream::{KeyedStatement, PreparedStream};
use crate::quote::quote_qualified;
use crate::triggers::key_part::{has_key_sql, texts_sql};
use crate::triggers::{DiscoveryError, discover};
use latido_base::ident::Key;
use latido_stream::{KeyRoute, KeyType, LocalDay, Param, ParamKind, SourceTable, Stream};

/// The number of rows that a sequential scan may touch without a warning.
const SMALL_SCAN_ROWS: f64 = 10_000.0;

/// The longest time for reading one key without a warning, in milliseconds.
const SLOW_MS: f64 = 100.0;

/// Returns the findings about the query. `of_tables` are those about the stream's tables, which may
/// name indexes.
pub(super) async fn examine(
    database: &Database,
    stream: &Stream,
    of_tables: &[Finding],
) -> Vec<Finding> {
    let prepared = match database.prepare_stream(stream).await {
        Ok(prepared) => prepared,
        Err(error) => return vec![failure_finding(stream, "query", &error)],
    };
    let mut findings = vec![Finding::ok(
        subject(stream, "query"),
        format!("valid; its keys are {}", describe_keys(&prepared)),
    )];
    match explain_plan(database, stream, &prepared).await {
        Ok(plan) => {
            findings.push(plan_finding(stream, &plan, of_tables));
            findings.extend(partitions::examine(database, stream, &plan).await);
        }
        Err(error) => findings.push(failure_finding(stream, "plan", &error)),
    }
    findings.extend(check_verification(database, stream, &prepared).await);
    if stream.authorize_query.is_some() {
        findings.push(match database.probe_permissions(stream).await {
            Ok(_) => Finding::ok(subject(stream, "authorize"), "valid"),
            Err(error) => failure_finding(stream, "authorize", &error),
        });
    }
    if stream.history_query.is_some() {
        findings.push(match &prepared.history {
            Ok(_) => Finding::ok(subject(stream, "history"), "valid"),
            Err(error) => failure_finding(stream, "history", error),
        });
    }
    findings
}

pub(super) fn subject(stream: &Stream, of: &str) -> String {
    format!("stream {}: {of}", stream.name)
}

fn failure_finding(stream: &Stream, of: &str, error: &DatabaseError) -> Finding {
    Finding::failure(subject(stream, of), error.to_string())
}

/// Compares the query with its verification query for one key.
async fn check_verification(
    database: &Database,
    stream: &Stream,
    prepared: &PreparedStream,
) -> Option<Finding> {
    stream.verification.as_ref()?;
    let subject = subject(stream, "check");
    if stream.pending_verification().is_none() {
        let refused = "the database refuses the query itself: a server would read with its check";
        return Some(
            Finding::failure(subject, refused)
                .remedy("if it is sql/history/estadisticas.sql: run sql/history/install.sql"),
        );
    }
    let compared = async {
        let key = example_key(database, stream, prepared).await?;
        let differing = database
            .mismatched_keys(stream, std::slice::from_ref(&key), &[example_day()])
            .await?;
        Ok(differing.is_empty())
    };
    Some(match compared.await {
        Ok(true) => Finding::ok(subject, "gives the same result for one key"),
        Ok(false) => {
            let differs = "gives another result for a key: a server would read with it once it verifies that key";
            Finding::failure(subject, differs).remedy(
                "where days are closed: SELECT latido_history.reopen(), then close them anew",
            )
        }
        Err(error) => failure_finding(stream, "check", &error),
    })
}

/// The result of EXPLAIN. The driver would need another feature to return JSON.
struct ExplainJson(Value);

impl<'a> FromSql<'a> for ExplainJson {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(serde_json::from_slice(raw)?))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSON
    }
}

/// Runs the query under EXPLAIN for one existing key, if there is one.
async fn explain_plan(
    database: &Database,
    stream: &Stream,
    prepared: &PreparedStream,
) -> Result<Value, DatabaseError> {
    let key = example_key(database, stream, prepared).await?;
    let statement = KeyedStatement {
        sql: format!(
            "EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {}",
            prepared.read.sql
        ),
        day_arrays: prepared.read.day_arrays.clone(),
    };
    let what = format!("the query of stream {}", stream.name);
    let rows = database
        .run_prepared(prepared, &what, &statement, &[key], &[example_day()])
        .await?;
    let plan = rows
        .first()
        .and_then(|row| row.try_get::<_, ExplainJson>(0).ok());
    Ok(plan.map_or(Value::Null, |ExplainJson(mut plan)| plan[0].take()))
}

/// Returns a day for queries whose result does not matter.
fn example_day() -> LocalDay {
    LocalDay::new(date(2000, 1, 1), &TimeZone::UTC)
}

/// Returns an existing key, or a well-formed placeholder if there is none.
async fn example_key(
    database: &Database,
    stream: &Stream,
    prepared: &PreparedStream,
) -> Result<Key, DatabaseError> {
    let placeholder = |of: &KeyType| match of {
        KeyType::Uuid => "00000000-0000-0000-0000-000000000000".to_owned(),
        KeyType::Integer | KeyType::Numeric => "0".to_owned(),
        KeyType::Text | KeyType::Padded | KeyType::CaseInsensitive(_) => "0".to_owned(),
        KeyType::Date => "2000-01-01".to_owned(),
        KeyType::Boolean => "false".to_owned(),
        KeyType::Enum(labels) => labels
            .labels()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    let existing = existing_key(database, stream, prepared).await?;
    let key =
        existing.unwrap_or_else(|| Key::from_parts(prepared.key_types.iter().map(placeholder)));
    let value = |param: &Param| match (&param.default, &param.kind) {
        (Some(default), _) => default.clone(),
        (None, ParamKind::Date) => "2000-01-01".to_owned(),
        (None, ParamKind::Integer | ParamKind::Text { .. }) => "0".to_owned(),
        (None, ParamKind::Boolean) => "false".to_owned(),
        (None, ParamKind::Enum(values)) => values.first().cloned().unwrap_or_default(),
    };
    Ok(key.with_params(stream.params.iter().map(value)))
}

/// Describes the keys of a stream for people.
fn describe_keys(prepared: &PreparedStream) -> String {
    let kinds: Vec<_> = prepared.key_types.iter().map(ToString::to_string).collect();
    match kinds.is_empty() {
        true => "none: it has one channel".to_owned(),
        false => kinds.join(", and "),
    }
}

async fn existing_key(
    database: &Database,
    stream: &Stream,
    prepared: &PreparedStream,
) -> Result<Option<Key>, DatabaseError> {
    let keyed = |table: &&SourceTable| matches!(&table.route, KeyRoute::Columns(_));
    let Some(table) = stream.tables.iter().find(keyed) else {
        return Ok(None);
    };
    let found = match discover::discover_table(database, stream, table).await {
        Ok(found) => found,
        Err(DiscoveryError::Table(_)) => return Ok(None),
        Err(DiscoveryError::Database(error)) => return Err(error),
    };
    let columns = found.key_columns();
    if columns.len() != prepared.key_types.len() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {} FROM {} AS t WHERE {} LIMIT 1",
        texts_sql(columns, "t"),
        quote_qualified(&found.schema, &found.table),
        has_key_sql(columns, "t")
    );
    let rows = database.query("the doctor", &sql, &[]).await?;
    let parts: Option<Vec<&str>> = rows.first().and_then(|row| row.try_get(0).ok());
    Ok(parts.map(Key::from_parts))
}

fn plan_finding(stream: &Stream, plan: &Value, of_tables: &[Finding]) -> Finding {
    let ms = plan["Execution Time"].as_f64().unwrap_or_default();
    let subject = subject(stream, "plan");
    let mut scans = Vec::new();
    collect_scans(&plan["Plan"], &mut scans);
    if let Some(scan) = scans.into_iter().max_by(|a, b| a.rows.total_cmp(&b.rows)) {
        let LargeScan {
            schema,
            table,
            rows,
        } = scan;
        let detail = format!(
            "one key reads all of {schema}.{table}, {rows:.0} rows, in {ms:.1} ms; and so does every other"
        );
        let quoted = quote_qualified(&schema, &table);
        let remedy = match of_tables
            .iter()
            .any(|finding| names_index(finding, &quoted))
        {
            true => "create the index that is named for the table, then ANALYZE it".to_owned(),
            false => format!(
                "ANALYZE {quoted}; or let an index find the rows that the query needs of it"
            ),
        };
        return Finding::warning(subject, detail).remedy(remedy);
    }
    if ms > SLOW_MS {
        return Finding::warning(subject, format!("reading one key takes {ms:.1} ms"));
    }
    Finding::ok(subject, format!("reading one key takes {ms:.1} ms"))
}

/// Returns whether a finding says how to create an index on a table.
fn names_index(finding: &Finding, quoted_table: &str) -> bool {
    let remedy = finding.with_remedy.as_deref().unwrap_or_default();
    remedy.starts_with("CREATE INDEX") && remedy.contains(&format!(" ON {quoted_table} ("))
}

/// A sequential scan over a large table.
#[derive(Debug, PartialEq)]
struct LargeScan {
    schema: String,
    table: String,
    rows: f64,
}

/// Collects the sequential scans over large tables.
fn collect_scans(node: &Value, found: &mut Vec<LargeScan>) {
    let rows = node["Actual Rows"].as_f64().unwrap_or_default()
        + node["Rows Removed by Filter"].as_f64().unwrap_or_default();
    let rows = rows * node["Actual Loops"].as_f64().unwrap_or(1.0);
    if node["Node Type"] == "Seq Scan" && rows > SMALL_SCAN_ROWS {
        let name = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
        found.push(LargeScan {
            schema: name("Schema"),
            table: name("Relation Name"),
            rows,
        });
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect_scans(child, found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn large_scans_are_found_at_any_depth() {
        let scan = json!({"Node Type": "Seq Scan", "Schema": "public", "Relation Name": "citas", "Actual Rows": 12.0,
                          "Rows Removed by Filter": 6000, "Actual Loops": 2});
        let mut found = Vec::new();
        collect_scans(
            &json!({"Node Type": "Aggregate", "Plans": [{"Node Type": "Gather", "Plans": [scan]}]}),
            &mut found,
        );
        let citas = LargeScan {
            schema: "public".to_owned(),
            table: "citas".to_owned(),
            rows: 12024.0,
        };
        assert_eq!(found, [citas]);
    }
}
