//! The types of a stream's keys, as the database describes them.

use tokio_postgres::types::{Kind, Type};

use crate::error::DatabaseError;
use crate::key_array::element;
use crate::key_kind::{KeyKind, base_type, labels};
use crate::pool::Database;
use latido_stream::{EnumLabels, KeyType, LowerCase};

/// Returns the type of each key part from the arrays that a query takes. Asks the database about the
/// lower case of letters if there is a `citext`.
///
/// # Errors
/// An error if the database is unavailable, or if its encoding does not allow `citext` keys.
pub(super) async fn key_types(
    database: &Database,
    arrays: &[Type],
) -> Result<Vec<KeyType>, DatabaseError> {
    let mut types = Vec::with_capacity(arrays.len());
    for array in arrays.iter().filter_map(element) {
        let Some(kind) = KeyKind::of_type(array) else {
            continue;
        };
        types.push(match kind {
            KeyKind::Uuid => KeyType::Uuid,
            KeyKind::Integer => KeyType::Integer,
            KeyKind::Numeric => KeyType::Numeric,
            KeyKind::Text => KeyType::Text,
            KeyKind::Padded => KeyType::Padded,
            KeyKind::Date => KeyType::Date,
            KeyKind::Boolean => KeyType::Boolean,
            KeyKind::Enum => KeyType::Enum(EnumLabels::new(labels(array).iter().cloned())),
            KeyKind::CaseInsensitive => KeyType::CaseInsensitive(lower_case(database).await?),
        });
    }
    Ok(types)
}

impl Database {
    /// Returns whether an enum among the elements of these arrays has other labels now.
    pub(super) async fn has_other_labels(&self, arrays: &[Type]) -> Result<bool, DatabaseError> {
        for of in arrays.iter().filter_map(element).map(base_type) {
            if !matches!(of.kind(), Kind::Enum(_)) {
                continue;
            }
            let sql = "SELECT l.enumlabel::pg_catalog.text FROM pg_catalog.pg_enum l \
                       WHERE l.enumtypid OPERATOR(pg_catalog.=) $1 ORDER BY l.enumsortorder";
            let params = [(&of.oid() as _, Type::OID)];
            let rows = self.query("a look at an enum", sql, &params).await?;
            let now = rows.iter().filter_map(|row| row.try_get::<_, &str>(0).ok());
            if !now.eq(labels(of).iter().map(String::as_str)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Asks the database what becomes of each character in lower case.
async fn lower_case(database: &Database) -> Result<LowerCase, DatabaseError> {
    let sql = include_str!("lower_case.sql");
    let rows = database.query("a look at upper case", sql, &[]).await?;
    if rows.is_empty() {
        return Err(DatabaseError::unfit(
            "citext keys",
            "a database with the encoding UTF8",
            "another encoding",
        ));
    }
    let pair = |row: &tokio_postgres::Row| {
        let upper: &str = row.try_get(0).ok()?;
        Some((upper.chars().next()?, row.try_get(1).ok()?))
    };
    Ok(LowerCase::new(rows.iter().filter_map(pair)))
}
