//! One change of a copy at a time, and the keys whose rows alter.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::quote::quote_ident;
use crate::shadow::copies::{RowsByKey, ShadowSession, TopicSample, to_error};
use crate::shadow::routes::RoutedTable;

/// The number of rows of each table that are changed.
const CHANGED_ROWS: u32 = 40;
/// The seed of the choice, so that a report can be repeated.
const SEED: u64 = 7;

/// A change of one row of a copy.
#[derive(Debug)]
pub(super) struct RowChange {
    /// The place of the row, as `ctid` has it.
    row: String,
    kind: ChangeKind,
}

#[derive(Debug)]
enum ChangeKind {
    Delete,
    /// The column takes the value that another row has.
    Update {
        column: String,
        other_row: String,
    },
}

/// The changes of a table.
#[derive(Debug)]
pub(super) struct PlannedChanges {
    /// The number of the table's rows that were copied.
    pub(super) copied: usize,
    pub(super) changes: Vec<RowChange>,
}

/// What a change did to the rows of the stream.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The change breaks a constraint, or the query fails after it.
    Impossible,
    /// No row of the stream altered.
    Unaltered,
    /// Rows altered.
    Altered {
        /// A key whose row altered and that the routes do not find.
        missed: Option<Vec<String>>,
    },
}

impl RowChange {
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            ChangeKind::Delete => "a DELETE".to_owned(),
            ChangeKind::Update { column, .. } => format!("an UPDATE of {column}"),
        }
    }

    /// Returns the SQL that makes the change, with the old and the new row in `changed`.
    fn sql(&self, table: &str) -> String {
        let row = &self.row;
        let old = format!(
            "CREATE TEMPORARY TABLE changed AS SELECT * FROM pg_temp.{table} WHERE ctid = '{row}'::tid"
        );
        match &self.kind {
            ChangeKind::Delete => {
                format!("{old}; DELETE FROM pg_temp.{table} WHERE ctid = '{row}'::tid")
            }
            ChangeKind::Update { column, other_row } => format!(
                "{old}; WITH n AS (UPDATE pg_temp.{table} SET {column} = (SELECT o.{column} FROM pg_temp.{table} o WHERE o.ctid = '{other_row}'::tid)
                 WHERE ctid = '{row}'::tid RETURNING *) INSERT INTO pg_temp.changed SELECT * FROM n",
                column = quote_ident(column)
            ),
        }
    }
}

impl ShadowSession<'_> {
    /// Returns changes of some rows of a table: each is deleted, and takes the value of another row in
    /// each column that the query reads.
    pub(super) async fn planned_changes(
        &self,
        table: &RoutedTable,
    ) -> Result<PlannedChanges, DatabaseError> {
        let name = quote_ident(&table.name);
        let rows = format!("SELECT ctid::text FROM pg_temp.{name} ORDER BY ctid");
        let rows = self.query(&rows, &[]).await?;
        let mut rows: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
        let columns = match &table.columns {
            Some(columns) => columns.clone(),
            None => self.columns(&name).await?,
        };
        let mut random = fastrand::Rng::with_seed(SEED);
        random.shuffle(&mut rows);
        let mut changes = Vec::new();
        for row in rows.iter().take(CHANGED_ROWS as usize) {
            let change = |kind| RowChange {
                row: row.clone(),
                kind,
            };
            changes.push(change(ChangeKind::Delete));
            for column in &columns {
                let other = random.choice(&rows).unwrap_or(row);
                changes.push(change(ChangeKind::Update {
                    column: column.clone(),
                    other_row: other.clone(),
                }));
            }
        }
        // So that each kind of change is tried if the time ends.
        random.shuffle(&mut changes);
        Ok(PlannedChanges {
            copied: rows.len(),
            changes,
        })
    }

    async fn columns(&self, table: &str) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT attname::text FROM pg_catalog.pg_attribute
                   WHERE attrelid = pg_catalog.concat('pg_temp.', $1::text)::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
        let rows = self.query(sql, &[(&table, Type::TEXT)]).await?;
        let names = rows.iter().map(|row| row.try_get(0).map_err(to_error));
        names.collect()
    }

    /// Makes a change, compares the rows of the topics with those before, and takes the change back.
    pub(super) async fn try_change(
        &self,
        table: &RoutedTable,
        change: &RowChange,
        sample: &TopicSample,
        before: &RowsByKey,
    ) -> Result<Outcome, DatabaseError> {
        // A read that takes longer counts as no test: one changed parent can make a recursive query
        // endless.
        self.execute("SAVEPOINT latido; SET LOCAL statement_timeout = '1s'")
            .await?;
        let outcome = self.outcome(table, change, sample, before).await;
        self.execute("ROLLBACK TO SAVEPOINT latido").await?;
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(error @ DatabaseError::Unavailable { .. }) if self.client().is_closed() => {
                Err(error)
            }
            Err(_) => Ok(Outcome::Impossible),
        }
    }

    async fn outcome(
        &self,
        table: &RoutedTable,
        change: &RowChange,
        sample: &TopicSample,
        before: &RowsByKey,
    ) -> Result<Outcome, DatabaseError> {
        self.execute(&change.sql(&quote_ident(&table.name))).await?;
        let after = self.rows(sample).await?;
        let keys = before.keys().chain(after.keys());
        let altered: Vec<_> = keys
            .filter(|key| before.get(*key) != after.get(*key))
            .collect();
        if altered.is_empty() {
            return Ok(Outcome::Unaltered);
        }
        let found = self.keys_of_changed(table).await?;
        let missed = altered.into_iter().find(|key| !found.contains(*key));
        Ok(Outcome::Altered {
            missed: missed.cloned(),
        })
    }
}
