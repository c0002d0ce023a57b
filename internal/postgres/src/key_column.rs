//! Compares the type of a stream's keys with the columns that hold them.
//!
//! A trigger sends a key as its column spells it, and a watch lock is that of the spelling. So the
//! server's canonical text of a key must be the only text of that key in the column. A column of
//! another kind may hold an upper-case UUID or `007`; then no change of such a key would arrive.

use tokio_postgres::types::Type;

use crate::error::{DatabaseError, KeyMismatch};
use crate::key_array::array_name;
use crate::key_lookup::lookup_columns;
use crate::pool::Database;
use crate::table_lookup::find_table_oid;
use latido_stream::{KeyRoute, KeyType, SourceTable, Stream};

/// Checks that every key column of the stream's tables spells keys as the server does. `arrays` are
/// the types of the first parameters, one for each key part. Skips tables and columns that cannot be found: they have no triggers.
///
/// # Errors
/// [`DatabaseError::KeyMismatch`] for the first column that differs.
pub(super) async fn check_key_columns(
    database: &Database,
    stream: &Stream,
    arrays: &[Type],
    types: &[KeyType],
) -> Result<(), DatabaseError> {
    for table in &stream.tables {
        let columns = match &table.route {
            KeyRoute::Columns(columns) => columns,
            KeyRoute::Lookup(sql) => {
                check_lookup(database, stream, table, sql, arrays, types).await?;
                continue;
            }
            KeyRoute::EveryKey => continue,
        };
        for ((column, array), of) in columns.iter().zip(arrays).zip(types) {
            let Some(column) = find_key_column(database, table, column).await? else {
                continue;
            };
            if !column.spells_like(of) {
                return Err(DatabaseError::KeyMismatch(Box::new(KeyMismatch {
                    stream: stream.name.clone(),
                    table: table.name.clone(),
                    remedy: column.remedy(&table.name, of),
                    column: column.name,
                    column_type: column.declared,
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
    types: &[KeyType],
) -> Result<(), DatabaseError> {
    let columns = lookup_columns(database, table, sql).await?;
    let columns = columns.unwrap_or_default();
    for (((name, own), array), of) in columns.iter().zip(arrays).zip(types) {
        if key_type_of(own.name()).is_none_or(|own| own == *of) {
            continue;
        }
        return Err(DatabaseError::KeyMismatch(Box::new(KeyMismatch {
            stream: stream.name.clone(),
            table: table.name.clone(),
            remedy: format!("cast {name} in `via` to the type of the query's parameter"),
            column: format!("{name} of `via`"),
            column_type: own.name().to_owned(),
            parameter_type: array_name(array),
        })));
    }
    Ok(())
}

impl Database {
    /// Checks the key columns of a stream that is prepared again, because a migration may have given
    /// one another type that its query still accepts. After a mismatch the next read prepares the
    /// stream anew, which reports it.
    ///
    /// # Errors
    /// [`DatabaseError::KeyMismatch`] for the first column that differs, or the error of the
    /// database.
    pub async fn recheck_key_columns(&self, stream: &Stream) -> Result<(), DatabaseError> {
        let Some(prepared) = self.cached_prepared(&stream.name) else {
            return Ok(());
        };
        let (keys, of) = (&prepared.topic_arrays.keys, &prepared.key_types);
        let result = check_key_columns(self, stream, keys, of).await;
        if let Err(DatabaseError::KeyMismatch(_)) = &result {
            self.forget_prepared(&stream.name);
        }
        result
    }
}

/// The column of a table that holds the key.
struct FoundColumn {
    name: String,
    /// The type as its declaration writes it.
    declared: String,
    /// The kind of keys in the column, or `None` if a trigger cannot send its type.
    key_type: Option<KeyType>,
    /// True if the column's collation takes different texts for equal.
    is_nondeterministic: bool,
}

impl FoundColumn {
    /// Returns whether each key of that type has one text in the column. A type that cannot be a
    /// key's is reported with the table itself.
    fn spells_like(&self, of: &KeyType) -> bool {
        let own = self.key_type.as_ref();
        own.is_none_or(|own| own == of && !self.is_nondeterministic)
    }

    fn remedy(&self, table: &str, of: &KeyType) -> String {
        let column = &self.name;
        match (&self.key_type, of) {
            (Some(KeyType::Text), KeyType::Text) => {
                format!("give {column} a deterministic collation, such as \"C\"")
            }
            (Some(KeyType::Uuid), _) => "write `$1::uuid[]` in the query".to_owned(),
            (Some(KeyType::Integer), _) => "write `$1::bigint[]` in the query".to_owned(),
            (Some(KeyType::Date), _) => "write `$1::date[]` in the query".to_owned(),
            (Some(KeyType::Boolean), _) => "write `$1::boolean[]` in the query".to_owned(),
            (Some(KeyType::Text) | None, wanted) => {
                let sql_type = match wanted {
                    KeyType::Uuid => "uuid",
                    KeyType::Integer | KeyType::Text => "bigint",
                    KeyType::Date => "date",
                    KeyType::Boolean => "boolean",
                };
                format!(
                    "write `$1::text[]` in the query and compare {column} as text, or ALTER TABLE {table} \
                     ALTER COLUMN {column} TYPE {sql_type} USING {column}::{sql_type}"
                )
            }
        }
    }
}

async fn find_key_column(
    database: &Database,
    table: &SourceTable,
    key: &String,
) -> Result<Option<FoundColumn>, DatabaseError> {
    let Some(oid) = find_table_oid(database, table).await? else {
        return Ok(None);
    };
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&oid, Type::OID), (key, Type::TEXT)];
    let rows = database
        .query(
            "a look at the key columns",
            include_str!("find_key_column.sql"),
            &params,
        )
        .await?;
    Ok(rows.first().and_then(|row| {
        let name: String = row.try_get(0).ok()?;
        Some(FoundColumn {
            key_type: key_type_of(&name),
            declared: row.try_get(1).ok()?,
            is_nondeterministic: row.try_get(2).ok()?,
            name: row.try_get(3).ok()?,
        })
    }))
}

fn key_type_of(type_name: &str) -> Option<KeyType> {
    match type_name {
        "uuid" => Some(KeyType::Uuid),
        "int8" | "int4" | "int2" => Some(KeyType::Integer),
        "text" | "varchar" => Some(KeyType::Text),
        "date" => Some(KeyType::Date),
        "bool" => Some(KeyType::Boolean),
        _ => None,
    }
}
