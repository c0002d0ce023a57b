//! Tries to refute lookups: changes rows, and compares the keys whose result changed with those that the
//! lookups return for the old and the new rows. Everything is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use latido_inference::{Lookup, LookupAnswer, TableLookups};

/// A key, as the texts of its parts.
pub(super) type Key = Vec<String>;

/// A query that was prepared under a name, with the keys for which it is run.
pub(super) struct PreparedQuery<'a> {
    pub(super) client: &'a Client,
    pub(super) name: String,
    key_parts: usize,
    /// The array of each parameter, as an SQL literal.
    arguments: Vec<String>,
    /// True if keys in another case are the same.
    folds_case: bool,
}

/// What the changes of one table showed.
#[derive(Debug, Default, Clone)]
pub(super) struct Outcome {
    pub(super) tried: usize,
    /// The changes that altered the result of at least one key.
    pub(super) altered: usize,
    /// The changes after which a key was missing, each with that key.
    pub(super) missed: Vec<String>,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.altered += other.altered;
        self.missed.extend(other.missed);
    }
}

/// Returns the rows of a statement as texts; NULL is `None`.
pub(super) async fn rows(
    client: &Client,
    sql: &str,
) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let columns = (0..row.len()).map(|n| row.get(n).map(str::to_owned));
            Some(columns.collect())
        }
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn qualified(table: &TableLookups) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

/// Returns the statement of a lookup over `changed`.
pub(super) fn statement(lookup: &Lookup) -> String {
    match lookup {
        Lookup::Select { sql, .. } => sql.clone(),
        Lookup::Columns(columns) => {
            let columns: Vec<_> = columns.iter().map(|c| quoted(c)).collect();
            format!("SELECT DISTINCT {} FROM changed", columns.join(", "))
        }
    }
}

pub(super) fn proven(table: &TableLookups) -> &[Lookup] {
    match &table.answer {
        LookupAnswer::Proven(lookups) => lookups,
        _ => &[],
    }
}

impl<'a> PreparedQuery<'a> {
    /// Prepares a query whose parameters after the keys have the same value in each row.
    pub(super) async fn new(
        client: &'a Client,
        query: &str,
        keys: &[Key],
        key_parts: usize,
        others: &[&str],
    ) -> Self {
        let name = format!("refuted_{}", fastrand::u64(..));
        let prepare = format!("PREPARE {name} AS {query}");
        client.batch_execute(&prepare).await.unwrap();
        let array = |values: &mut dyn Iterator<Item = &str>| {
            let quote =
                |value: &str| format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let items: Vec<_> = values.map(quote).collect();
            format!("'{{{}}}'", items.join(",").replace('\'', "''"))
        };
        let parts = (0..key_parts).map(|n| array(&mut keys.iter().map(|key| key[n].as_str())));
        let fixed = others
            .iter()
            .map(|value| array(&mut keys.iter().map(|_| *value)));
        let arguments = parts.chain(fixed).collect();
        Self {
            client,
            name,
            key_parts,
            arguments,
            folds_case: query.contains("$1::citext[]"),
        }
    }

    /// Returns the key in a row, or `None` if a part is null.
    fn key(&self, parts: &[Option<String>]) -> Option<Key> {
        let canonical = |part: &Option<String>| {
            let part = part.as_deref()?;
            Some(if self.folds_case {
                part.to_lowercase()
            } else {
                part.to_owned()
            })
        };
        parts.iter().map(canonical).collect()
    }

    /// Returns the rows of each key.
    pub(super) async fn result(&self) -> Result<BTreeMap<Key, Vec<String>>, tokio_postgres::Error> {
        let sql = format!("EXECUTE {}({})", self.name, self.arguments.join(", "));
        let mut result: BTreeMap<Key, Vec<String>> = BTreeMap::new();
        for row in rows(self.client, &sql).await? {
            if let Some(key) = self.key(&row[..self.key_parts]) {
                result.entry(key).or_default().push(format!("{row:?}"));
            }
        }
        result.values_mut().for_each(|rows| rows.sort_unstable());
        Ok(result)
    }

    async fn execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(sql).await
    }

    /// Changes rows of a table, with triggers and foreign keys off, and returns what that showed.
    /// `columns` are those that the query reads.
    pub(super) async fn refute(
        &self,
        table: &TableLookups,
        columns: &[String],
        rows_tried: usize,
        random: &mut Rng,
    ) -> Outcome {
        let name = qualified(table);
        let begin = format!(
            "BEGIN; SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = '5s';
             CREATE TEMPORARY TABLE changed (LIKE {name}) ON COMMIT DROP"
        );
        self.execute(&begin).await.unwrap();
        let places = format!("SELECT tableoid, ctid FROM {name}");
        let places = rows(self.client, &places).await.unwrap();
        let mut places: Vec<_> = places.into_iter().map(Place::new).collect();
        let others = places.clone();
        random.shuffle(&mut places);
        places.truncate(rows_tried);
        let before = self.result().await.unwrap();
        let mut outcome = Outcome::default();
        for place in places {
            let mut changes = vec![Change::Delete];
            changes.extend(columns.iter().map(|column| {
                let from = random.choice(&others).unwrap().clone();
                Change::Copy {
                    column: quoted(column),
                    from,
                }
            }));
            for change in changes {
                let statements = change.statements(&name, &place);
                self.try_change(table, &statements, &before, &mut outcome)
                    .await;
            }
        }
        self.execute("ROLLBACK").await.unwrap();
        outcome
    }

    /// Returns the rows after a change, and the keys that the proven lookups find for it. A statement
    /// may take too long.
    async fn result_and_told(
        &self,
        table: &TableLookups,
    ) -> Result<(BTreeMap<Key, Vec<String>>, BTreeSet<Key>), tokio_postgres::Error> {
        let after = self.result().await?;
        let mut told = BTreeSet::new();
        for lookup in proven(table) {
            let found = rows(self.client, &statement(lookup)).await?;
            told.extend(found.iter().filter_map(|row| self.key(row)));
        }
        Ok((after, told))
    }

    /// Makes one change, and takes it back.
    pub(super) async fn try_change(
        &self,
        table: &TableLookups,
        statements: &str,
        before: &BTreeMap<Key, Vec<String>>,
        outcome: &mut Outcome,
    ) {
        self.execute("SAVEPOINT change").await.unwrap();
        let changed = self.execute(statements).await;
        let after = match changed {
            Ok(()) => self.result_and_told(table).await,
            Err(error) => Err(error),
        };
        match after {
            Ok((after, told)) => {
                let altered = altered(before, &after);
                outcome.tried += 1;
                outcome.altered += usize::from(!altered.is_empty());
                for key in altered.difference(&told) {
                    outcome.missed.push(format!("{key:?} after {statements}"));
                }
            }
            Err(error) => {
                let expected = [
                    SqlState::UNIQUE_VIOLATION,
                    SqlState::NOT_NULL_VIOLATION,
                    SqlState::CHECK_VIOLATION,
                    SqlState::FOREIGN_KEY_VIOLATION,
                    SqlState::GENERATED_ALWAYS,
                    SqlState::QUERY_CANCELED,
                ];
                assert!(
                    error.code().is_some_and(|code| expected.contains(code)),
                    "{statements}: {error:?}"
                );
            }
        }
        self.execute("ROLLBACK TO SAVEPOINT change").await.unwrap();
    }
}

/// Returns the keys whose rows differ.
fn altered(
    before: &BTreeMap<Key, Vec<String>>,
    after: &BTreeMap<Key, Vec<String>>,
) -> BTreeSet<Key> {
    let keys = before.keys().chain(after.keys());
    keys.filter(|key| before.get(*key) != after.get(*key))
        .cloned()
        .collect()
}

/// The place of a row in its table.
#[derive(Debug, Clone)]
struct Place(String);

impl Place {
    fn new(row: Vec<Option<String>>) -> Self {
        let [Some(table), Some(row)] = &row[..] else {
            unreachable!("two columns that are never null")
        };
        Self(format!("tableoid = {table} AND ctid = '{row}'"))
    }
}

enum Change {
    Delete,
    /// Sets a column to the value that another row has.
    Copy {
        column: String,
        from: Place,
    },
}

impl Change {
    /// Returns SQL that fills `changed` with the old and the new row, and changes it.
    fn statements(&self, table: &str, place: &Place) -> String {
        let at = &place.0;
        let old = format!("INSERT INTO changed SELECT * FROM {table} WHERE {at}");
        match self {
            Self::Delete => format!("{old}; DELETE FROM {table} WHERE {at}"),
            Self::Copy { column, from } => format!(
                "{old}; WITH new AS (UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE {}) WHERE {at}
                 RETURNING *) INSERT INTO changed SELECT * FROM new",
                from.0
            ),
        }
    }
}
