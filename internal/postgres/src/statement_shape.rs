//! The parameters and result columns of a statement, and the form that a stream's query must have.

use std::collections::HashSet;
use std::fmt;

use tokio_postgres::types::Type;

use crate::day_array::{self, is_day_array};
use crate::error::DatabaseError;
use crate::key_array::{EXPECTED_ARRAYS, is_same_key_type, key_type};
use latido_stream::{KeyType, Stream};

/// The parameters and result columns of a statement.
pub(super) struct StatementShape {
    pub(super) params: Vec<Type>,
    pub(super) columns: Vec<(String, Type)>,
}

impl StatementShape {
    /// Returns whether both statements take the same parameters and return the same columns. One
    /// may take fewer bounds of the day than the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let mut params = self.params.iter().zip(&other.params);
        params.all(|(own, other)| own == other) && self.columns == other.columns
    }

    /// Returns the array type of `$1` with the type of its keys, and the array types of the
    /// parameters after it, which hold the bounds of the day.
    pub(super) fn check_parameters(
        &self,
        what: &str,
    ) -> Result<(Type, KeyType, Vec<Type>), DatabaseError> {
        let fit = match self.params.as_slice() {
            [keys, days @ ..] if days.len() <= 2 && days.iter().all(is_day_array) => {
                key_type(keys).map(|of| (keys.clone(), of, days.to_vec()))
            }
            _ => None,
        };
        fit.ok_or_else(|| {
            let days = day_array::EXPECTED_ARRAYS;
            let expected = format!(
                "parameters $1 {EXPECTED_ARRAYS}, $2 {days} (today of each key), and $3 {days} (the next day)"
            );
            DatabaseError::unfit(what, expected, self.to_string())
        })
    }

    /// Returns the names of the key's column and of the data columns.
    pub(super) fn check_columns(
        &self,
        what: &str,
        stream: &Stream,
        keys: &Type,
    ) -> Result<(String, Vec<String>), DatabaseError> {
        let Some(((key, first), data)) = self.columns.split_first() else {
            return Err(DatabaseError::unfit(
                what,
                "rows",
                "a statement without a result",
            ));
        };
        if !is_same_key_type(keys, first) {
            return Err(DatabaseError::unfit(
                what,
                format!("the key as first column, with the type of $1 ({keys})"),
                first.name(),
            ));
        }
        if data.is_empty() {
            return Err(DatabaseError::unfit(
                what,
                "data columns after the key",
                "none",
            ));
        }
        // The frame adds these two fields itself.
        let mut taken = HashSet::from([key.as_str(), stream.key_field.as_str(), "timestamp"]);
        for (name, _) in data {
            if !taken.insert(name) {
                return Err(DatabaseError::unfit(
                    what,
                    "data columns with distinct names, none of them the key's nor `timestamp`",
                    name,
                ));
            }
        }
        Ok((
            key.clone(),
            data.iter().map(|(name, _)| name.clone()).collect(),
        ))
    }
}

impl fmt::Display for StatementShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params: Vec<_> = self
            .params
            .iter()
            .enumerate()
            .map(|(i, t)| format!("${} {t}", i + 1))
            .collect();
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(name, t)| format!("{name} {t}"))
            .collect();
        write!(
            f,
            "parameters ({}) and columns ({})",
            params.join(", "),
            columns.join(", ")
        )
    }
}
