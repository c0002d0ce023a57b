//! Reads the histories of topics, with one statement for several.
//!
//! A history query returns any number of rows for each topic, in an order of its own. So that a topic
//! costs no more than its limit, and no topic depends on another, the query becomes a lateral subquery
//! of a list of topics. Its array parameters become arrays of one element, and it is limited for each
//! topic by itself.

use tokio_postgres::types::{ToSql, Type};

use crate::connect::DedicatedConnection;
use crate::error::DatabaseError;
use crate::key_array::{array_name, key_kind};
use crate::key_kind::KeyKind;
use crate::parameters;
use crate::pool::Database;
use crate::prepare::{build_json_sql, describe_statement, topic_kinds};
use crate::prepared_stream::{HistoryStatement, KeyedStatement, PreparedStream, TopicArrays};
use crate::quote::quote_ident;
use crate::statement_shape::{StatementShape, TopicColumns};
use crate::statement_text::single_statement;
use crate::topic_arrays;
use latido_base::ident::Key;
use latido_stream::{Column, HistoryLimits, LocalDay, Stream, TopicHistory};

/// The list of topics. The name must not occur in the query.
const LIST: &str = "latido_asked";

/// Returns the purpose of a stream's history query, for messages.
fn purpose(stream: &Stream) -> String {
    format!("the history of stream {}", stream.name)
}

impl Database {
    /// Describes the history query of a stream, whose own query is `prepared`, and runs it without
    /// keys. `None` if the stream has none.
    ///
    /// # Errors
    /// The error of the database if it refuses the query, or [`DatabaseError::Unfit`] with the form
    /// that was expected.
    pub(super) async fn prepare_history(
        &self,
        stream: &Stream,
        prepared: &PreparedStream,
    ) -> Result<Option<HistoryStatement>, DatabaseError> {
        let Some(sql) = &stream.history_query else {
            return Ok(None);
        };
        let private = self.open_dedicated().await?;
        let history = describe(self, &private, stream, sql, &prepared.topic_arrays).await?;
        self.run_history_without_keys(stream, &history).await?;
        Ok(Some(history))
    }

    /// Runs the history query of a stream without keys.
    pub(super) async fn run_history_without_keys(
        &self,
        stream: &Stream,
        history: &HistoryStatement,
    ) -> Result<(), DatabaseError> {
        let limits = HistoryLimits { rows: 1, bytes: 1 };
        let result = self.run_history(stream, history, &[], &[], limits).await;
        result.map(drop)
    }

    /// Returns the reason why the stream's history query cannot be used, as far as it was found when
    /// the stream was prepared.
    pub fn history_problem(&self, stream: &Stream) -> Option<DatabaseError> {
        self.cached_prepared(stream)?.history.clone().err()
    }

    /// Returns the data columns of the stream's history as last described. `None` if the database has
    /// not described it, or if the stream has none.
    pub fn history_columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        let prepared = self.cached_prepared(stream)?;
        let history = prepared.history.as_ref().ok()?.as_ref()?;
        Some(history.columns.clone())
    }

    /// Reads the history of each key in one statement, so from one snapshot; `todays` holds the current
    /// local day of each key. A key that its column cannot hold has none.
    ///
    /// # Errors
    /// The same errors as [`Database::read`]. A query that was refused is described again first.
    pub async fn read_history(
        &self,
        stream: &Stream,
        keys: &[Key],
        todays: &[LocalDay],
        limits: HistoryLimits,
    ) -> Result<Vec<TopicHistory>, DatabaseError> {
        let mut prepared = self.current_prepared(stream).await?;
        if prepared.history.is_err() {
            prepared = self.prepare_stream(stream).await?;
        }
        let Some(history) = prepared.history.clone()? else {
            return Ok(Vec::new());
        };
        let result = self.run_history(stream, &history, keys, todays, limits);
        match result.await {
            // A migration may have changed a table.
            Err(refused) if refused.is_invalid_statement() => {
                let now = self.prepare_stream(stream).await?.history.clone()?;
                match now.filter(|now| *now != history) {
                    Some(now) => self.run_history(stream, &now, keys, todays, limits).await,
                    None => Err(refused),
                }
            }
            result => result,
        }
    }

    async fn run_history(
        &self,
        stream: &Stream,
        history: &HistoryStatement,
        keys: &[Key],
        todays: &[LocalDay],
        limits: HistoryLimits,
    ) -> Result<Vec<TopicHistory>, DatabaseError> {
        let arrays = &history.topic_arrays;
        let (fitting, todays) = topic_arrays::fitting(arrays, keys, todays);
        let day_arrays = &history.statement.day_arrays;
        let columns = topic_arrays::parameters(arrays, day_arrays, &fitting, &todays);
        let limits = [limits.rows, limits.bytes].map(i64::from);
        let mut params = topic_arrays::borrow(&columns);
        params.extend(
            limits
                .iter()
                .map(|limit| (limit as &(dyn ToSql + Sync), Type::INT8)),
        );
        let rows = self
            .query(&purpose(stream), &history.statement.sql, &params)
            .await?;
        let history_of = |row: &tokio_postgres::Row| {
            let number: i64 = row.try_get(0).ok()?;
            let key = fitting.get(usize::try_from(number).ok()?.checked_sub(1)?)?;
            let text: Option<&str> = row.try_get(1).ok()?;
            let [count, found]: [i64; 2] = [row.try_get(2).ok()?, row.try_get(3).ok()?];
            Some(TopicHistory {
                key: (*key).clone(),
                rows: text.unwrap_or_default().to_owned(),
                count: usize::try_from(count).unwrap_or_default(),
                is_truncated: found > count,
            })
        };
        Ok(rows.iter().filter_map(history_of).collect())
    }
}

/// Describes a history query and checks that it has the form that the stream's query has. `of_query`
/// are the types of the latter's parameters.
async fn describe(
    database: &Database,
    private: &DedicatedConnection,
    stream: &Stream,
    sql: &str,
    of_query: &TopicArrays,
) -> Result<HistoryStatement, DatabaseError> {
    let what = purpose(stream);
    let found = describe_statement(database, private, &what, sql).await?;
    let (topic_arrays, day_arrays) = found.check_parameters(&what, stream)?;
    let names = found.check_columns(&what, stream, &topic_arrays)?;
    for (number, (own, of_query)) in topic_arrays.keys.iter().zip(&of_query.keys).enumerate() {
        let kinds = key_kind(own).zip(key_kind(of_query));
        if !kinds.is_some_and(|(own, of_query)| own.spells_like(of_query)) {
            let (own, of_query) = (array_name(own), array_name(of_query));
            let expected = format!("${} as in the stream's query, {of_query}", number + 1);
            return Err(DatabaseError::unfit(what, expected, own));
        }
    }
    let sql = build_sql(sql, stream, &found, &names, &topic_arrays, day_arrays.len());
    let Some(sql) = sql else {
        let expected = format!("a query that does not use the name {LIST}");
        return Err(DatabaseError::unfit(what, expected, LIST));
    };
    Ok(HistoryStatement {
        statement: KeyedStatement { sql, day_arrays },
        columns: found.data_columns(names.topic.len()),
        topic_arrays,
    })
}

/// Builds the statement: the number of each topic, its rows, how many these are, and how many were
/// found, at most one more than may be.
///
/// A row counts only if it returns the topic that was asked for, so that a query without a condition
/// on the key shows nobody another's rows. The limits come after the query's own order. Functions
/// over all rows as they come keep that order.
fn build_sql(
    sql: &str,
    stream: &Stream,
    found: &StatementShape,
    names: &TopicColumns,
    arrays: &TopicArrays,
    days: usize,
) -> Option<String> {
    if sql.to_ascii_lowercase().contains(LIST) {
        return None;
    }
    let count = arrays.keys.len() + days + arrays.params.len();
    let columns: Vec<_> = (1..=count).map(|n| format!("{LIST}.c{n}")).collect();
    let one_element: Vec<_> = columns.iter().map(|c| format!("ARRAY[{c}]")).collect();
    let query = parameters::replace(single_statement(sql).ok()?, |number| {
        one_element.get(number.checked_sub(1)?).map(String::as_str)
    })?;
    let own: Vec<_> = found.key_kinds(arrays.keys.len());
    let asked: Vec<_> = arrays.keys.iter().filter_map(key_kind).collect();
    let kinds = topic_kinds(&own, stream).zip(topic_kinds(&asked, stream));
    let (of_keys, of_params) = (0..arrays.keys.len(), arrays.keys.len() + days..count);
    let asked = of_keys.chain(of_params).filter_map(|n| columns.get(n));
    let conditions: Vec<_> = names
        .topic
        .iter()
        .zip(asked)
        .zip(kinds)
        .map(|((name, asked), (own_kind, asked_kind))| {
            let name = format!("d.{}", quote_ident(name));
            equal_texts(own_kind, &name, asked_kind, asked)
        })
        .collect();
    let condition = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let (rows, bytes) = (count + 1, count + 2);
    Some(format!(
        "SELECT {LIST}.n, h.said, h.kept, h.found\n\
         FROM {}\n\
         CROSS JOIN LATERAL (SELECT \
         pg_catalog.string_agg(j.said, ',' ORDER BY j.n) FILTER (WHERE j.fits) AS said, \
         pg_catalog.count(*) FILTER (WHERE j.fits) AS kept, pg_catalog.count(*) AS found FROM (SELECT l.said, l.n, \
         l.n OPERATOR(pg_catalog.<=) ${rows} AND pg_catalog.sum(pg_catalog.octet_length(l.said) OPERATOR(pg_catalog.+) 1) \
         OVER (ROWS UNBOUNDED PRECEDING) OPERATOR(pg_catalog.<=) ${bytes} AS fits\n\
         FROM (SELECT {} AS said, pg_catalog.row_number() OVER () AS n\nFROM (\n{query}\n) AS d {condition} \
         LIMIT ${rows} OPERATOR(pg_catalog.+) 1) AS l) AS j) AS h",
        list_sql(count),
        build_json_sql(names),
    ))
}

/// Returns the list of topics: their number, and a column for each parameter. A stream without a key
/// and parameters, whose query needs no day, has one topic.
fn list_sql(count: usize) -> String {
    if count == 0 {
        return format!("(VALUES (1::pg_catalog.int8)) AS {LIST} (n)");
    }
    let arrays: Vec<_> = (1..=count)
        .map(|n| format!("pg_catalog.unnest(${n})"))
        .collect();
    let names: Vec<_> = (1..=count).map(|n| format!("c{n}")).collect();
    format!(
        "ROWS FROM ({}) WITH ORDINALITY AS {LIST} ({}, n)",
        arrays.join(", "),
        names.join(", ")
    )
}

/// Returns SQL that compares the texts of two values byte by byte.
fn equal_texts(own: KeyKind, name: &str, asked: KeyKind, column: &str) -> String {
    format!(
        "({}) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) ({})",
        own.text_sql(name),
        asked.text_sql(column)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_has_a_column_for_each_parameter() {
        assert_eq!(
            list_sql(2),
            "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS latido_asked (c1, c2, n)"
        );
        assert!(list_sql(0).contains("VALUES"));
    }
}
