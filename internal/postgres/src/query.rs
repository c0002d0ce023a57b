//! Reads rows, zones and permissions, with one statement for all keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;

use crate::authorize::{
    authorize_purpose, describe_claims, granted_key, shown_claims, user_and_key_types,
};
use crate::error::DatabaseError;
use crate::pool::Database;
use crate::prepare::build_authorize_sql;
use crate::prepared_stream::{KeyedStatement, PreparedStream};
use crate::text_parameter::TextParameter;
use crate::{prepare, topic_arrays};
use latido_base::ident::{Key, UserId};
use latido_stream::{Catalog, Column, KeyType, LocalDay, Stream, StreamRow};

impl Database {
    /// Describes every stream's SQL with the database's help, and sets [`Stream::key_types`].
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] if a later attempt may succeed. Otherwise the error of the
    /// first stream that cannot work, with its name and the expected form.
    pub async fn prepare(&self, catalog: &Catalog) -> Result<(), DatabaseError> {
        for (_, stream) in catalog.iter() {
            self.prepare_stream(stream).await?;
        }
        Ok(())
    }

    /// Reads the rows of these keys in one statement, so from one snapshot; `todays` holds the
    /// current local day of each key.
    ///
    /// Returns at most one row per key, in any order. A query of the recommended form (`unnest …
    /// CROSS JOIN LATERAL`) gives a row for every key. A key has no row if the query leaves it out,
    /// or if its column cannot hold it (70000 as a smallint). The engine decides how to handle
    /// that.
    ///
    /// Fails after the statement time-out. A connection that died meanwhile is replaced once
    /// without an error.
    pub async fn read(
        &self,
        stream: &Stream,
        keys: &[Key],
        todays: &[LocalDay],
    ) -> Result<Vec<StreamRow>, DatabaseError> {
        let rows = self.read_timed(stream, keys, todays).await?;
        Ok(rows.into_iter().map(|(row, _)| row).collect())
    }

    /// Reads like [`Database::read`], and adds the server time between the previous row and this
    /// one; for the first row, since the start of the statement.
    pub async fn read_timed(
        &self,
        stream: &Stream,
        keys: &[Key],
        todays: &[LocalDay],
    ) -> Result<Vec<TimedRow>, DatabaseError> {
        debug_assert_eq!(keys.len(), todays.len(), "a today for each key");
        let prepared = self.current_prepared(stream).await?;
        match self.read_prepared(&prepared, stream, keys, todays).await {
            Err(refused @ DatabaseError::Rejected { .. })
                if is_possible_migration(&refused, &prepared) =>
            {
                let now = self.prepare_stream(stream).await?;
                if now == prepared {
                    return Err(refused);
                }
                self.read_prepared(&now, stream, keys, todays).await
            }
            result => result,
        }
    }

    /// Returns those keys for which the stream's query and its verification query give different
    /// results in one snapshot. Returns none if the stream has no pending verification.
    pub async fn mismatched_keys(
        &self,
        stream: &Stream,
        keys: &[Key],
        todays: &[LocalDay],
    ) -> Result<Vec<Key>, DatabaseError> {
        let prepared = self.current_prepared(stream).await?;
        let Some(statement) = &prepared.mismatch else {
            return Ok(Vec::new());
        };
        let rows = self
            .run_prepared(
                &prepared,
                &format!("the check of stream {}", stream.name),
                statement,
                keys,
                todays,
            )
            .await?;
        Ok(rows
            .iter()
            .filter_map(|row| topic_key(stream, row))
            .collect())
    }

    /// Returns the time zone of each key, as the stream's [`latido_stream::ZoneRule::Query`] names
    /// it; the name is not checked. Keys without a zone are absent, and so are all keys of a stream
    /// with a fixed zone.
    pub async fn zones(
        &self,
        stream: &Stream,
        keys: &[Key],
    ) -> Result<HashMap<Key, String>, DatabaseError> {
        let prepared = self.current_prepared(stream).await?;
        let Some((sql, arrays)) = &prepared.zones_query else {
            return Ok(HashMap::new());
        };
        let fits = |key: &&Key| topic_arrays::fits(arrays, key.parts());
        let fitting: Vec<&Key> = keys.iter().filter(fits).collect();
        let columns = topic_arrays::columns(arrays, &fitting, Key::parts);
        let what = format!("the time zone query of stream {}", stream.name);
        let params: Vec<_> = topic_arrays::borrow(&columns);
        let rows = self.query(&what, sql, &params).await?;
        let pair = |row: &tokio_postgres::Row| {
            let parts: Vec<String> = row.try_get(0).ok()?;
            let key = stream.canonical_key(&prepared.key_types, &parts).ok()?;
            Some((key, text_column(row, 1)?.to_owned()))
        };
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Returns those keys that a user without a token may read, by the stream's `authorize` query;
    /// none without such a query.
    pub async fn allowed_keys(
        &self,
        stream: &Stream,
        user: &UserId,
        keys: &[Key],
    ) -> Result<Vec<Key>, DatabaseError> {
        self.allowed_keys_by_claims(stream, user, None, keys).await
    }

    /// Returns those keys that the user may read, by the stream's `authorize` query, which is shown
    /// the claims (a JSON object) if it takes them; none without such a query.
    pub async fn allowed_keys_by_claims(
        &self,
        stream: &Stream,
        user: &UserId,
        claims: Option<&str>,
        keys: &[Key],
    ) -> Result<Vec<Key>, DatabaseError> {
        let Some(query) = &stream.authorize_query else {
            return Ok(Vec::new());
        };
        // A text in PostgreSQL cannot hold NUL, and no user has such an id.
        if user.as_str().contains('\0') {
            return Ok(Vec::new());
        }
        let texts: Vec<String> = keys.iter().map(|key| stream.permission_text(key)).collect();
        let (user, claims) = (user.as_str(), TextParameter(shown_claims(claims).into()));
        let values: [&(dyn ToSql + Sync); 3] = [&user, &texts, &claims];
        let types = user_and_key_types().into_iter();
        let types = types.chain(self.claims_type(stream).await?);
        let params: Vec<_> = values.into_iter().zip(types).collect();
        let _permit = self.acquire_permission_slot().await?;
        let sql = build_authorize_sql(query.sql());
        let rows = self
            .query(&authorize_purpose(stream), &sql, &params)
            .await?;
        let allowed: HashSet<Key> = rows
            .iter()
            .filter_map(|row| granted_key(stream, text_column(row, 0)?))
            .collect();
        Ok(keys
            .iter()
            .filter(|key| allowed.contains(&key.without_params()))
            .cloned()
            .collect())
    }

    /// Returns the data columns of the stream's query as last described, or `None` if the database
    /// has not described it yet.
    pub fn columns(&self, stream: &Stream) -> Option<Vec<Column>> {
        self.cached_prepared(stream)
            .map(|prepared| prepared.columns.clone())
    }

    /// Returns the prepared form of the query that the stream is read with now.
    pub(super) async fn current_prepared(
        &self,
        stream: &Stream,
    ) -> Result<Arc<PreparedStream>, DatabaseError> {
        match self.cached_prepared(stream) {
            Some(prepared)
                if prepared.mismatch.is_some() == stream.pending_verification().is_some() =>
            {
                Ok(prepared)
            }
            _ => self.prepare_stream(stream).await,
        }
    }

    pub(super) async fn prepare_stream(
        &self,
        stream: &Stream,
    ) -> Result<Arc<PreparedStream>, DatabaseError> {
        let mut prepared = prepare::describe_stream(self, stream).await?;
        prepared.claims_type = match describe_claims(self, stream).await {
            Err(error @ DatabaseError::Unavailable { .. }) => return Err(error),
            claims_type => claims_type,
        };
        self.run_without_keys(stream, &prepared).await?;
        prepared.history = match self.prepare_history(stream, &prepared).await {
            Err(error @ DatabaseError::Unavailable { .. }) => return Err(error),
            history => history,
        };
        let prepared = Arc::new(prepared);
        let known = stream.key_types.get_or_init(|| prepared.key_types.clone());
        let mut parts = known.iter().zip(&prepared.key_types);
        let is_known =
            known.len() == prepared.key_types.len() && parts.all(|(known, now)| known.learn(now));
        if !is_known {
            let what = format!("the query of stream {}", stream.name);
            let list = |types: &[KeyType]| {
                let kinds = types.iter().map(ToString::to_string);
                kinds.collect::<Vec<_>>().join(", ")
            };
            let expected = format!(
                "the keys to be {} as before; restart to take the new type",
                list(known)
            );
            let found = list(&prepared.key_types);
            return Err(DatabaseError::unfit(what, expected, found));
        }
        self.cache_prepared(stream, prepared.clone());
        Ok(prepared)
    }

    async fn read_prepared(
        &self,
        prepared: &PreparedStream,
        stream: &Stream,
        keys: &[Key],
        todays: &[LocalDay],
    ) -> Result<Vec<TimedRow>, DatabaseError> {
        let rows = self
            .run_prepared(
                prepared,
                &format!("the query of stream {}", stream.name),
                &prepared.read,
                keys,
                todays,
            )
            .await?;
        Ok(first_row_per_key(stream, &rows))
    }

    /// Runs a statement of the stream for those topics that its parameters can hold.
    pub(super) async fn run_prepared(
        &self,
        prepared: &PreparedStream,
        what: &str,
        statement: &KeyedStatement,
        keys: &[Key],
        todays: &[LocalDay],
    ) -> Result<Vec<tokio_postgres::Row>, DatabaseError> {
        let arrays = &prepared.topic_arrays;
        let (fitting, todays) = topic_arrays::fitting(arrays, keys, todays);
        let columns = topic_arrays::parameters(arrays, &statement.day_arrays, &fitting, &todays);
        let params = topic_arrays::borrow(&columns);
        self.query(what, &statement.sql, &params).await
    }
}

/// A row, and the server time that it took, if known.
type TimedRow = (StreamRow, Option<Duration>);

fn first_row_per_key(stream: &Stream, rows: &[tokio_postgres::Row]) -> Vec<TimedRow> {
    let mut before: Option<Timestamp> = rows.first().and_then(|row| row.try_get(4).ok());
    let mut seen = HashSet::with_capacity(rows.len());
    let mut timed = Vec::with_capacity(rows.len());
    for row in rows {
        let now: Option<Timestamp> = row.try_get(3).ok();
        // Also `None` if the server's clock was set back meanwhile.
        let took = before
            .zip(now)
            .and_then(|(before, now)| Duration::try_from(now.duration_since(before)).ok());
        before = now;
        let (Some(key), Some(columns)) = (topic_key(stream, row), text_column(row, 1)) else {
            continue;
        };
        if !seen.insert(key.clone()) {
            tracing::warn!(
                stream = stream.name,
                %key,
                "the query gives several rows for one key; the first one counts"
            );
            continue;
        }
        let clock_us = row.try_get(2).unwrap_or_default();
        timed.push((
            StreamRow {
                key,
                columns: columns.to_owned(),
                clock_us,
            },
            took,
        ));
    }
    timed
}

fn text_column(row: &tokio_postgres::Row, column: usize) -> Option<&str> {
    row.try_get(column).ok().flatten()
}

/// Returns the topic that a row is for: the first column holds the texts of its key parts and
/// parameters. Returns `None` if one of them is NULL.
fn topic_key(stream: &Stream, row: &tokio_postgres::Row) -> Option<Key> {
    let texts: Vec<&str> = row.try_get(0).ok()?;
    let (parts, params) = texts.split_at_checked(stream.key_fields.len())?;
    Some(Key::from_parts(parts).with_params(params))
}

/// Returns whether a migration may have caused the error. SQLSTATE class 42 reports that a column,
/// a type or a table has changed. A parameter of a type that was dropped is an internal error, and a
/// label of an enum that was renamed is an invalid text (`invalid_text_representation`).
fn is_possible_migration(error: &DatabaseError, prepared: &PreparedStream) -> bool {
    let has_enum = || {
        let mut types = prepared.key_types.iter();
        types.any(|of| matches!(of, KeyType::Enum(_)))
    };
    error.sqlstate().is_some_and(|state| {
        state.starts_with("42")
            || ["0A000", "XX000"].contains(&state)
            || (state == "22P02" && has_enum())
    })
}
