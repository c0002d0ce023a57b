//! Prepares a stream's statements: describes its SQL with the database's help and builds the SQL
//! that is sent.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use crate::columns::CastTypes;
use crate::connect::DedicatedConnection;
use crate::error::{DatabaseError, error_text};
use crate::key_array::{EXPECTED_ARRAYS, array_name, key_kind};
use crate::key_column::check_key_columns;
use crate::key_kind::KeyKind;
use crate::key_types::key_types;
use crate::pool::Database;
use crate::prepared_stream::{KeyedStatement, PreparedStream};
use crate::quote::quote_ident;
use crate::statement_shape::{StatementShape, TopicColumns};
use crate::statement_text::single_statement;
use latido_stream::{ParamKind, Stream, ZoneRule};

/// The time-out of describing one statement.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The server's own limit for describing one statement, in milliseconds. It ends before the
/// time-out, so that a locked table is told from a database that does not respond.
const DESCRIBE_STATEMENT_MS: u32 = 4_000;

/// Describes the statements that read the stream and checks that they have the required form.
pub(super) async fn describe_stream(
    database: &Database,
    stream: &Stream,
) -> Result<PreparedStream, DatabaseError> {
    let what = format!("the query of stream {}", stream.name);
    if let Some(problem) = stream.inference.key_problem() {
        return Err(DatabaseError::unfit(what, "key parts", &problem.detail));
    }
    let private = database.open_dedicated().await?;
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
    let (topic_arrays, days) = found.check_parameters(&what, stream)?;
    let names = found.check_columns(&what, stream, &topic_arrays)?;
    check_key_columns(database, stream, &topic_arrays.keys).await?;
    let key_types = key_types(database, &topic_arrays.keys).await?;
    let row = build_row_sql(&names, &found.key_kinds(topic_arrays.keys.len()), stream);
    let zones = match &stream.zone_rule {
        ZoneRule::Fixed(_) => None,
        ZoneRule::Query { sql, .. } => {
            Some(prepare_zones(database, &private, stream, sql, &topic_arrays.keys).await?)
        }
    };
    let mismatch = match stream.pending_verification() {
        Some(check) => {
            Some(prepare_comparison(database, &private, stream, &check.query, &found, &row).await?)
        }
        None => None,
    };
    let read = build_read_sql(stream.active_query(), &row);
    Ok(PreparedStream {
        key_types,
        topic_arrays,
        columns: found.data_columns(names.topic.len()),
        read: KeyedStatement {
            sql: read,
            day_arrays: days,
        },
        mismatch,
        zones_query: zones,
        history: Ok(None),
        claims_type: Ok(None),
    })
}

/// Builds the statement that compares a query of this form with its verification query.
async fn prepare_comparison(
    database: &Database,
    private: &DedicatedConnection,
    stream: &Stream,
    check: &str,
    found: &StatementShape,
    row: &str,
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
    let longer = if same.params.len() > found.params.len() {
        &same
    } else {
        found
    };
    let (_, day_arrays) = longer.check_parameters(&what, stream)?;
    Ok(KeyedStatement {
        sql: build_mismatch_sql(&stream.query, check, row),
        day_arrays,
    })
}

async fn prepare_zones(
    database: &Database,
    private: &DedicatedConnection,
    stream: &Stream,
    sql: &str,
    of: &[Type],
) -> Result<(String, Vec<Type>), DatabaseError> {
    let what = format!("the time zone query of stream {}", stream.name);
    let found = describe_statement(database, private, &what, sql).await?;
    let kinds = |arrays: &[Type]| arrays.iter().map(key_kind).collect::<Option<Vec<_>>>();
    let agree = kinds(&found.params)
        .zip(kinds(of))
        .is_some_and(|(own, of)| {
            let mut pairs = own.iter().zip(&of);
            own.len() == of.len() && pairs.all(|(own, of)| own.spells_like(*of))
        });
    if agree && found.columns.len() == of.len() + 1 {
        return Ok((build_zones_sql(sql, &found.columns), found.params));
    }
    let kinds: Vec<_> = of.iter().map(array_name).collect();
    let (parameters, kinds) = match of.len() {
        1 => ("$1".to_owned(), kinds.concat()),
        parts => (format!("$1 to ${parts}, each"), kinds.join(", ")),
    };
    let expected = format!(
        "{parameters} {EXPECTED_ARRAYS}, of the same kind as in the stream's query ({kinds}), and the columns key, zone"
    );
    Err(DatabaseError::unfit(what, expected, found.to_string()))
}

/// Describes a statement alone, which gives its parameters.
pub(super) async fn describe_statement(
    database: &Database,
    private: &DedicatedConnection,
    what: &str,
    sql: &str,
) -> Result<StatementShape, DatabaseError> {
    describe_typed(database, private, what, sql, &[]).await
}

/// Describes a statement whose first parameters have these types.
pub(super) async fn describe_typed(
    database: &Database,
    private: &DedicatedConnection,
    what: &str,
    sql: &str,
    types: &[Type],
) -> Result<StatementShape, DatabaseError> {
    let sql = single_statement(sql)
        .map_err(|error| DatabaseError::unfit(what, "one statement", error.to_string()))?;
    let described = parse_and_describe(database, private, sql, types).await?;
    described.map_err(|e| match DatabaseError::from_driver(what, &e) {
        // For an unknown parameter type, for example, the position in the text helps more than
        // the message alone.
        DatabaseError::Rejected { what, sqlstate, .. } => DatabaseError::Rejected {
            what,
            sqlstate,
            message: explain_error(&e, sql),
        },
        other => other,
    })
}

/// Returns the shape of a text that is one statement, or the driver's error, which has the position
/// of a mistake. A transaction makes a pooler use one server session from the request to the
/// clean-up. A locked table must not make the caller wait, so the server gives up by itself.
///
/// # Errors
/// Returns an error if the database does not respond in time.
pub(super) async fn parse_and_describe(
    database: &Database,
    private: &DedicatedConnection,
    sql: &str,
    types: &[Type],
) -> Result<Result<StatementShape, tokio_postgres::Error>, DatabaseError> {
    let client = &private.client;
    let work = async {
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {DESCRIBE_STATEMENT_MS}; {}",
            database.local_read_settings()
        );
        client.batch_execute(&begin).await?;
        let result = match client.prepare_typed(sql, types).await {
            Ok(statement) => Ok(statement_shape(client, &statement).await?),
            Err(error) => Err(error),
        };
        client.batch_execute("COMMIT").await?;
        result
    };
    timeout(DESCRIBE_TIMEOUT, work)
        .await
        .map_err(|_| DatabaseError::unavailable("no answer while describing a statement"))
}

async fn statement_shape(
    client: &Client,
    statement: &Statement,
) -> Result<StatementShape, tokio_postgres::Error> {
    let columns = statement.columns();
    Ok(StatementShape {
        params: statement.params().to_vec(),
        columns: columns
            .iter()
            .map(|c| (c.name().to_owned(), c.type_().clone()))
            .collect(),
        cast_types: CastTypes::find(client, columns.iter().map(|c| c.type_())).await?,
    })
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
fn build_read_sql(query: &str, row: &str) -> String {
    format!(
        "SELECT {row}, \
         (SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000000)::bigint), pg_catalog.clock_timestamp(), pg_catalog.statement_timestamp()\nFROM (\n{}\n) AS d",
        embeddable(query),
    )
}

/// Returns the SQL for a row of `d`: the texts of its key parts and parameters, as one array, and the
/// JSON of its data.
///
/// A key gets the canonical text of its kind. A parameter comes back as it was given, so that a
/// `citext` keeps its upper case; the text of a date depends on the session.
fn build_row_sql(names: &TopicColumns, key_kinds: &[KeyKind], stream: &Stream) -> String {
    let texts: Vec<_> = names
        .topic
        .iter()
        .zip(topic_kinds(key_kinds, stream))
        .map(|(name, kind)| kind.text_sql(&format!("d.{}", quote_ident(name))))
        .collect();
    format!(
        "ARRAY[{}]::pg_catalog.text[], {}",
        texts.join(", "),
        build_json_sql(names)
    )
}

/// Returns the kinds of a topic's columns: those of its key parts, then of its parameters.
pub(super) fn topic_kinds(key_kinds: &[KeyKind], stream: &Stream) -> impl Iterator<Item = KeyKind> {
    let params = stream.params.iter().map(|param| match param.kind {
        ParamKind::Date => KeyKind::Date,
        _ => KeyKind::Text,
    });
    key_kinds.iter().copied().chain(params)
}

/// Returns SQL for the JSON of the data of a row of `d`. It says `r.*`, because `r` alone would be a
/// column of that name, if the query has one.
pub(super) fn build_json_sql(names: &TopicColumns) -> String {
    let data: Vec<_> = names
        .data
        .iter()
        .map(|name| format!("d.{}", quote_ident(name)))
        .collect();
    format!(
        "(SELECT pg_catalog.row_to_json(r.*) FROM (SELECT {}) AS r)::pg_catalog.text",
        data.join(", ")
    )
}

/// Builds the SQL for the keys on which two queries differ, in one statement and so in one
/// snapshot.
fn build_mismatch_sql(query: &str, check: &str, row: &str) -> String {
    let [query, check] =
        [query, check].map(|sql| format!("(\nSELECT {row} FROM (\n{}\n) AS d\n)", embeddable(sql)));
    format!(
        "SELECT coalesce(a.k, b.k)\nFROM {query} AS a (k, said)\nFULL JOIN {check} AS b (k, said) ON a.k OPERATOR(pg_catalog.=) b.k\n\
         WHERE a.said OPERATOR(pg_catalog.=) b.said IS NOT TRUE"
    )
}

/// Returns the query for time zones in the form that is sent. The keys may be spelled in any way, and
/// be of another type than the stream's.
fn build_zones_sql(sql: &str, columns: &[(String, Type)]) -> String {
    let keys = columns.split_last().map_or(columns, |(_, keys)| keys);
    let names: Vec<_> = (1..=keys.len()).map(|n| format!("k{n}")).collect();
    let texts = names.iter().zip(keys);
    let texts: Vec<_> = texts
        .map(|(name, (_, of))| {
            let kind = KeyKind::of_type(of).unwrap_or(KeyKind::Text);
            kind.text_sql(&format!("z.{name}"))
        })
        .collect();
    let columns: String = names.iter().map(|name| format!("{name}, ")).collect();
    format!(
        "SELECT ARRAY[{}]::pg_catalog.text[], z.zone::pg_catalog.text\nFROM (\n{}\n) AS z ({columns}zone)",
        texts.join(", "),
        embeddable(sql)
    )
}

/// Returns the `authorize` query in the form that is sent.
pub(super) fn build_authorize_sql(sql: &str) -> String {
    format!(
        "SELECT a.latido_key::pg_catalog.text\nFROM (\n{}\n) AS a (latido_key)",
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
        let stream = Stream::test_stream("estadisticas", None);
        let names = TopicColumns {
            topic: vec!["k".to_owned()],
            data: vec!["b".to_owned(), "A".to_owned()],
        };
        let sql = build_read_sql(
            "SELECT k, 1 AS b, 2 AS \"A\" FROM t -- end",
            &build_row_sql(&names, &[KeyKind::Integer], &stream),
        );
        assert!(
            sql.starts_with(r#"SELECT ARRAY[d."k"::pg_catalog.text]"#)
                && sql.contains(r#"(SELECT d."b", d."A")"#),
            "{sql}"
        );
        assert!(sql.ends_with("-- end\n) AS d"), "{sql}");
    }
}
