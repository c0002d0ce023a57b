//! Prepares a stream's statements: describes its SQL with the database's help and builds the SQL
//! that is sent.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;

use crate::columns;
use crate::connect::DedicatedConnection;
use crate::error::{DatabaseError, error_text};
use crate::key_array::{EXPECTED_ARRAYS, key_type};
use crate::key_column::check_key_columns;
use crate::pool::Database;
use crate::prepared_stream::{KeyedStatement, PreparedStream};
use crate::quote::quote_ident;
use crate::statement_shape::StatementShape;
use crate::statement_text::single_statement;
use latido_stream::{Column, KeyType, Stream, ZoneRule};

/// The time-out of describing one statement.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The server's own limit for describing one statement, in milliseconds. It ends before the
/// time-out, so that a locked table is told from a database that does not respond.
const DESCRIBE_STATEMENT_MS: u32 = 4_000;

/// Describes all the stream's statements and checks that they have the required form.
pub(super) async fn describe_stream(
    database: &Database,
    stream: &Stream,
) -> Result<PreparedStream, DatabaseError> {
    let private = database.open_dedicated().await?;
    let what = format!("the query of stream {}", stream.name);
    let described = describe_statement(database, &private, &what, stream.active_query()).await;
    let found = match (described, stream.pending_verification()) {
        (Err(error @ DatabaseError::Rejected { .. }), Some(check))
            if error
                .sqlstate()
                .is_some_and(|state| state.starts_with("42")) =>
        {
            tracing::error!(stream = stream.name, %error, "the stream is read with its check from now on");
            check.activate();
            describe_statement(database, &private, &what, &check.query).await?
        }
        (result, _) => result?,
    };
    let (keys, key_type, days) = found.check_parameters(&what)?;
    let (key, data) = found.check_columns(&what, stream, &keys)?;
    check_key_columns(database, stream, &keys, key_type).await?;
    let zones = match &stream.zone_rule {
        ZoneRule::Fixed(_) => None,
        ZoneRule::Query { sql, .. } => {
            Some(prepare_zones(database, &private, stream, sql, key_type).await?)
        }
    };
    let mismatch = match stream.pending_verification() {
        Some(check) => Some(
            prepare_comparison(
                database,
                &private,
                stream,
                &check.query,
                &found,
                (&key, &data),
            )
            .await?,
        ),
        None => None,
    };
    let read = build_read_sql(stream.active_query(), &key, &data);
    let columns = found
        .columns
        .iter()
        .skip(1)
        .map(|(name, of)| Column {
            name: name.clone(),
            kind: columns::json_kind(of),
        })
        .collect();
    Ok(PreparedStream {
        key_type,
        key_array_type: keys,
        columns,
        read: KeyedStatement {
            sql: read,
            day_arrays: days,
        },
        mismatch,
        zones_query: zones,
    })
}

/// Builds the statement that compares a query of this form with its verification query.
async fn prepare_comparison(
    database: &Database,
    private: &DedicatedConnection,
    stream: &Stream,
    check: &str,
    found: &StatementShape,
    (key, data): (&str, &[String]),
) -> Result<KeyedStatement, DatabaseError> {
    let what = format!("the check of stream {}", stream.name);
    let same = describe_statement(database, private, &what, check).await?;
    if !same.is_like(found) {
        return Err(DatabaseError::unfit(
            what,
            found.to_string(),
            same.to_string(),
        ));
    }
    let longer = [found, &same].map(|shape| shape.params.get(1..).unwrap_or_default());
    let day_arrays = longer.into_iter().max_by_key(|days| days.len());
    Ok(KeyedStatement {
        sql: build_mismatch_sql(&stream.query, check, key, data),
        day_arrays: day_arrays.unwrap_or_default().to_vec(),
    })
}

async fn prepare_zones(
    database: &Database,
    private: &DedicatedConnection,
    stream: &Stream,
    sql: &str,
    of: KeyType,
) -> Result<(String, Type), DatabaseError> {
    let what = format!("the time zone query of stream {}", stream.name);
    let found = describe_statement(database, private, &what, sql).await?;
    match (found.params.as_slice(), found.columns.len()) {
        ([keys], 2) if key_type(keys) == Some(of) => Ok((build_zones_sql(sql), keys.clone())),
        _ => {
            let expected = format!(
                "$1 {EXPECTED_ARRAYS}, of the same kind as in the stream's query ({of}), and the columns key, zone"
            );
            Err(DatabaseError::unfit(what, expected, found.to_string()))
        }
    }
}

/// Describes a statement alone, which gives its parameters. A transaction makes a pooler use one
/// server session from the request to the clean-up. A locked table must not make the stream wait, so
/// the server gives up by itself.
async fn describe_statement(
    database: &Database,
    private: &DedicatedConnection,
    what: &str,
    sql: &str,
) -> Result<StatementShape, DatabaseError> {
    let client = &private.client;
    let sql = single_statement(sql)
        .map_err(|error| DatabaseError::unfit(what, "one statement", error.to_string()))?;
    let work = async {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {DESCRIBE_STATEMENT_MS}; {}",
            database.local_read_settings()
        );
        client.batch_execute(&begin).await?;
        let result = client.prepare(sql).await;
        let result = result.map(|statement| StatementShape {
            params: statement.params().to_vec(),
            columns: statement
                .columns()
                .iter()
                .map(|c| (c.name().to_owned(), c.type_().clone()))
                .collect(),
        });
        client.batch_execute("COMMIT").await?;
        result
    };
    match timeout(DESCRIBE_TIMEOUT, work).await {
        Ok(result) => result.map_err(|e| match DatabaseError::from_driver(what, &e) {
            // For an unknown parameter type, for example, the position in the text helps more than
            // the message alone.
            DatabaseError::Rejected { what, sqlstate, .. } => DatabaseError::Rejected {
                what,
                sqlstate,
                message: explain_error(&e, sql),
            },
            other => other,
        }),
        Err(_) => Err(DatabaseError::unavailable(
            "no answer while describing a statement",
        )),
    }
}

/// Returns the server's message, the line that it concerns, and its hint.
fn explain_error(error: &tokio_postgres::Error, sql: &str) -> String {
    use tokio_postgres::error::ErrorPosition;
    let Some(db) = error.as_db_error() else {
        return error_text(error);
    };
    let mut text = db.message().to_owned();
    if let Some(ErrorPosition::Original(position)) = db.position() {
        let before: String = sql.chars().take(*position as usize).collect();
        text.push_str(&format!(", in line {}", before.lines().count().max(1)));
    }
    if let Some(hint) = db.hint() {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

/// Builds the SQL that reads rows. Postgres builds the JSON, with its own text for every type and
/// the columns in order.
///
/// Columns are selected by name and not by position. So a migration under a `SELECT *` is an error,
/// which a new description repairs, and never another column under an old name. The clock is read
/// once a statement while it runs, so after its snapshot was taken: consecutive reads have rising
/// clocks. It is read again for each row, which gives the time that each key took.
fn build_read_sql(query: &str, key: &str, data: &[String]) -> String {
    format!(
        "SELECT {}, \
         (SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::bigint), pg_catalog.clock_timestamp(), pg_catalog.statement_timestamp()\nFROM (\n{}\n) AS d",
        build_row_sql(key, data),
        embeddable(query),
    )
}

/// Returns the SQL for the key and the JSON of a row of `d`.
fn build_row_sql(key: &str, data: &[String]) -> String {
    let data: Vec<_> = data
        .iter()
        .map(|name| format!("d.{}", quote_ident(name)))
        .collect();
    format!(
        "d.{}::pg_catalog.text, pg_catalog.row_to_json((SELECT r FROM (SELECT {}) AS r))::pg_catalog.text",
        quote_ident(key),
        data.join(", ")
    )
}

/// Builds the SQL for the keys on which two queries differ, in one statement and so in one
/// snapshot.
fn build_mismatch_sql(query: &str, check: &str, key: &str, data: &[String]) -> String {
    let [query, check] = [query, check].map(|sql| {
        format!(
            "(\nSELECT {} FROM (\n{}\n) AS d\n)",
            build_row_sql(key, data),
            embeddable(sql)
        )
    });
    format!(
        "SELECT coalesce(a.k, b.k)\nFROM {query} AS a (k, said)\nFULL JOIN {check} AS b (k, said) ON a.k OPERATOR(pg_catalog.=) b.k\n\
         WHERE a.said OPERATOR(pg_catalog.=) b.said IS NOT TRUE"
    )
}

fn build_zones_sql(sql: &str) -> String {
    format!(
        "SELECT z.k::pg_catalog.text, z.zone::pg_catalog.text\nFROM (\n{}\n) AS z (k, zone)",
        embeddable(sql)
    )
}

/// Returns the `authorize` query in the form that is sent.
pub(super) fn build_authorize_sql(sql: &str) -> String {
    format!(
        "SELECT a.k::pg_catalog.text\nFROM (\n{}\n) AS a (k)",
        embeddable(sql)
    )
}

/// Returns a statement in the form in which it can be part of another. [`describe_statement`] has
/// refused texts with several statements before; here they are an error of the server.
fn embeddable(sql: &str) -> &str {
    single_statement(sql).unwrap_or(sql)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_keeps_order_and_names_of_columns() {
        let sql = build_read_sql(
            "SELECT k, 1 AS b, 2 AS \"A\" FROM t -- end",
            "k",
            &["b".to_owned(), "A".to_owned()],
        );
        assert!(
            sql.starts_with(r#"SELECT d."k"::pg_catalog.text"#)
                && sql.contains(r#"(SELECT d."b", d."A")"#),
            "{sql}"
        );
        assert!(sql.ends_with("-- end\n) AS d"), "{sql}");
    }
}
