//! Compares the type of a stream's keys with the columns that hold them.
//!
//! A trigger sends a key as its column spells it, and a watch lock is that of the spelling. So the
//! server's canonical text of a key must be the only text of that key in the column. A column of
//! another kind may hold an upper-case UUID or `007`; then no change of such a key would arrive.

use tokio_postgres::types::Type;

use crate::error::{DatabaseError, KeyMismatch};
use crate::key_array::{array_name, key_kind};
use crate::key_kind::KeyKind;
use crate::key_lookup::lookup_columns;
use crate::pool::Database;
use crate::table_lookup::find_table_oid;
use latido_stream::{KeyRoute, SourceTable, Stream};

/// Checks that every key column of the stream's tables spells keys as the server does. `arrays` are
/// the types of the first parameters, one for each key part. Skips tables and columns that cannot be found: they have no triggers.
///
/// # Errors
/// [`DatabaseError::KeyMismatch`] for the first column that differs.
pub(super) async fn check_key_columns(
    database: &Database,
    stream: &Stream,
    arrays: &[Type],
) -> Result<(), DatabaseError> {
    for table in &stream.tables {
        let columns = match &table.route {
            KeyRoute::Columns(columns) => columns,
            KeyRoute::Lookup(sql) => {
                check_lookup(database, stream, table, sql, arrays).await?;
                continue;
            }
            KeyRoute::EveryKey => continue,
        };
        for (index, (column, array)) in columns.iter().zip(arrays).enumerate() {
            let found = find_key_column(database, table, column).await?;
            let Some((column, of)) = found.zip(key_kind(array)) else {
                continue;
            };
            if !column.spells_like(of) {
                let parameter = format!("${}", index + 1);
                return Err(DatabaseError::KeyMismatch(Box::new(KeyMismatch {
                    stream: stream.name.clone(),
                    table: table.name.clone(),
                    remedy: column.remedy(&table.name, &parameter, of),
                    column: column.name,
                    column_type: column.declared,
                    parameter,
                    parameter_type: array_name(array),
                })));
            }
        }
    }
    Ok(())
}

/// Checks that a lookup returns keys of the types that the query takes. An installation reports a
/// lookup of another form.
async fn check_lookup(
    database: &Database,
    stream: &Stream,
    table: &SourceTable,
    sql: &str,
    arrays: &[Type],
) -> Result<(), DatabaseError> {
    let columns = lookup_columns(database, table, sql).await?;
    let columns = columns.unwrap_or_default();
    for (index, ((name, own), array)) in columns.iter().zip(arrays).enumerate() {
        let kinds = KeyKind::of_type(own).zip(key_kind(array));
        if kinds.is_none_or(|(own, of)| own.spells_like(of)) {
            continue;
        }
        return Err(DatabaseError::KeyMismatch(Box::new(KeyMismatch {
            stream: stream.name.clone(),
            table: table.name.clone(),
            remedy: format!("cast {name} in `via` to the type of the query's parameter"),
            column: format!("{name} of `via`"),
            column_type: own.name().to_owned(),
            parameter: format!("${}", index + 1),
            parameter_type: array_name(array),
        })));
    }
    Ok(())
}

impl Database {
    /// Checks the key columns of a stream that is prepared already, because a migration may have
    /// given one another type that its query still accepts. After a mismatch the next read prepares
    /// the stream anew, which reports it. If an enum has other labels, the stream is prepared anew
    /// here: until then the new ones are no keys.
    ///
    /// # Errors
    /// [`DatabaseError::KeyMismatch`] for the first column that differs, or the error of the
    /// database.
    pub async fn recheck_key_columns(&self, stream: &Stream) -> Result<(), DatabaseError> {
        let Some(prepared) = self.cached_prepared(stream) else {
            return Ok(());
        };
        let keys = &prepared.topic_arrays.keys;
        let result = check_key_columns(self, stream, keys).await;
        if let Err(DatabaseError::KeyMismatch(_)) = &result {
            self.forget_prepared(stream);
        }
        result?;
        if self.has_other_labels(keys).await? {
            self.prepare_stream(stream).await?;
        }
        Ok(())
    }
}

/// The column of a table that holds a part of the key.
struct FoundColumn {
    name: String,
    /// The type as its declaration writes it.
    declared: String,
    /// The kind of keys in the column, or `None` if a trigger cannot send its type.
    kind: Option<KeyKind>,
    /// True if the column holds numbers with a fraction, which have several texts.
    is_fractional: bool,
    /// True if the column's collation takes different texts for equal.
    is_nondeterministic: bool,
}

impl FoundColumn {
    /// Returns whether each key of that kind has one text in the column. A type that cannot be a
    /// key's is reported with the table itself.
    fn spells_like(&self, of: KeyKind) -> bool {
        let is_alike = |kind: KeyKind| kind.spells_like(of) && !self.is_nondeterministic;
        !self.is_fractional && self.kind.is_none_or(is_alike)
    }

    /// Returns what to change so that a key with that parameter, of that kind, fits.
    fn remedy(&self, table: &str, parameter: &str, of: KeyKind) -> String {
        let column = &self.name;
        let alter = |of: &str| {
            format!("ALTER TABLE {table} ALTER COLUMN {column} TYPE {of} USING {column}::{of}")
        };
        match self.kind {
            None if self.is_fractional => {
                let alter = alter("numeric(38,0)");
                format!("{alter}, because 7 and 7.0 are equal there and have two texts")
            }
            Some(own) if own.spells_like(of) => {
                format!("give {column} a deterministic collation, such as \"C\"")
            }
            Some(KeyKind::Text) | None => {
                let write = format!(
                    "write `{parameter}::text[]` in the query and compare {column} as text"
                );
                match of {
                    // Its text has no blanks at the end, which the column may have.
                    KeyKind::Padded => write,
                    KeyKind::Integer | KeyKind::Text | KeyKind::Enum => {
                        format!("{write}, or {}", alter("bigint"))
                    }
                    KeyKind::Numeric => format!("{write}, or {}", alter("numeric(38,0)")),
                    other => format!("{write}, or {}", alter(other.parameter_type())),
                }
            }
            Some(own) => format!(
                "write `{parameter}::{}[]` in the query",
                own.parameter_type()
            ),
        }
    }
}

async fn find_key_column(
    database: &Database,
    table: &SourceTable,
    key: &str,
) -> Result<Option<FoundColumn>, DatabaseError> {
    let Some(oid) = find_table_oid(database, table).await? else {
        return Ok(None);
    };
    let sql = include_str!("triggers/find_columns.sql");
    let params = [(&oid as _, Type::OID)];
    let what = "a look at the key columns";
    let rows = database.query(what, sql, &params).await?;
    let named = |name: &str| {
        let mut rows = rows.iter();
        rows.find(|row| row.try_get(0).is_ok_and(|own: &str| own == name))
    };
    // As the name is written first, like SQL reads it second.
    let row = named(key).or_else(|| named(&key.to_lowercase()));
    Ok(row.and_then(|row| {
        let kind: Option<&str> = row.try_get(3).ok()?;
        Some(FoundColumn {
            name: row.try_get(0).ok()?,
            declared: row.try_get(4).ok()?,
            kind: kind.and_then(KeyKind::of_column),
            is_fractional: kind == Some("fractional"),
            is_nondeterministic: row.try_get(5).ok()?,
        })
    }))
}
