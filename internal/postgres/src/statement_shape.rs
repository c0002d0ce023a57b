//! The parameters and result columns of a statement, and the form that a stream's query must have.

use std::collections::HashSet;
use std::fmt;

use tokio_postgres::types::Type;

use crate::columns::{CastTypes, json_kind};
use crate::day_array::{self, is_day_array};
use crate::error::DatabaseError;
use crate::key_array::{EXPECTED_ARRAYS, can_hold, element, is_same_key_type, key_kind};
use crate::key_kind::{KeyKind, base_type};
use crate::prepared_stream::TopicArrays;
use latido_stream::{Column, Stream};

/// The parameters and result columns of a statement.
pub(super) struct StatementShape {
    pub(super) params: Vec<Type>,
    pub(super) columns: Vec<(String, Type)>,
    /// The columns' types that a cast function of their own turns into JSON.
    pub(super) cast_types: CastTypes,
}

impl StatementShape {
    /// Returns whether both statements take the same parameters and return the same columns. One
    /// may take fewer bounds of the day than the other.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let mut params = self.params.iter().zip(&other.params);
        params.all(|(own, other)| own == other) && self.columns == other.columns
    }

    /// Returns the arrays of the topics' columns, and the array types of the bounds of the day.
    pub(super) fn check_parameters(
        &self,
        what: &str,
        stream: &Stream,
    ) -> Result<(TopicArrays, Vec<Type>), DatabaseError> {
        let (keys, params) = (stream.key_fields.len(), stream.params.len());
        let days = self.params.len().checked_sub(keys + params);
        let fit = days.and_then(|days| {
            let (keys, rest) = self.params.split_at_checked(keys)?;
            let (days, params) = rest.split_at_checked(days)?;
            // With parameters, the day before them tells which is which.
            let has_days = match params.is_empty() {
                true => days.len() <= 2,
                false => days.len() == 1,
            };
            let is_fit = has_days
                && keys.iter().all(|keys| key_kind(keys).is_some())
                && days.iter().all(is_day_array)
                && params
                    .iter()
                    .zip(&stream.params)
                    .all(|(array, param)| can_hold(array, &param.kind));
            is_fit.then(|| {
                let arrays = TopicArrays {
                    keys: keys.to_vec(),
                    params: params.to_vec(),
                };
                (arrays, days.to_vec())
            })
        });
        fit.ok_or_else(|| DatabaseError::unfit(what, expected_parameters(stream), self.to_string()))
    }

    /// Returns the kinds of the first columns, as far as they can be keys.
    pub(super) fn key_kinds(&self, count: usize) -> Vec<KeyKind> {
        let keys = self.columns.iter().take(count);
        keys.filter_map(|(_, of)| KeyKind::of_type(of)).collect()
    }

    /// Returns the columns after those of the topic, of which there are `topic`.
    pub(super) fn data_columns(&self, topic: usize) -> Vec<Column> {
        let data = self.columns.iter().skip(topic);
        data.map(|(name, of)| Column {
            name: name.clone(),
            kind: json_kind(of, &self.cast_types),
            sql_type: base_type(of).name().to_owned(),
        })
        .collect()
    }

    /// Returns the names of the columns.
    pub(super) fn check_columns(
        &self,
        what: &str,
        stream: &Stream,
        arrays: &TopicArrays,
    ) -> Result<TopicColumns, DatabaseError> {
        let names = |columns: &[(String, Type)]| {
            columns
                .iter()
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        };
        let topic = arrays.keys.len() + arrays.params.len();
        let Some((topic, data)) = self.columns.split_at_checked(topic) else {
            return Err(DatabaseError::unfit(
                what,
                expected_columns(stream),
                self.to_string(),
            ));
        };
        let (keys, params) = topic.split_at(arrays.keys.len());
        for (array, (_, column)) in arrays.keys.iter().zip(keys) {
            if !is_same_key_type(array, column) {
                let expected = format!("{} ({array})", expected_columns(stream));
                return Err(DatabaseError::unfit(what, expected, column.name()));
            }
        }
        for ((array, param), (_, column)) in arrays.params.iter().zip(&stream.params).zip(params) {
            if element(array).is_none_or(|of| base_type(of) != column) {
                let expected = format!("{}, {} as {array}", expected_columns(stream), param.name);
                return Err(DatabaseError::unfit(what, expected, column.name()));
            }
        }
        if data.is_empty() {
            return Err(DatabaseError::unfit(
                what,
                "data columns after the key",
                "none",
            ));
        }
        // The frame adds the key's fields and the time itself.
        let own = stream.key_fields.iter().map(String::as_str);
        let mut taken: HashSet<&str> = own.chain(["timestamp"]).collect();
        let mut seen = HashSet::new();
        let distinct = topic.iter().all(|(name, _)| seen.insert(name.as_str()));
        taken.extend(seen);
        let repeated = data.iter().find(|(name, _)| !taken.insert(name));
        if let Some((name, _)) = repeated.or_else(|| topic.first().filter(|_| !distinct)) {
            return Err(DatabaseError::unfit(
                what,
                "data columns with distinct names, none of them the key's nor `timestamp`",
                name,
            ));
        }
        Ok(TopicColumns {
            topic: names(topic),
            data: names(data),
        })
    }
}

/// The names of a query's columns.
pub(super) struct TopicColumns {
    /// The key parts, then the stream's parameters.
    pub(super) topic: Vec<String>,
    pub(super) data: Vec<String>,
}

/// Describes the parameters that a stream's query takes.
fn expected_parameters(stream: &Stream) -> String {
    let days = day_array::EXPECTED_ARRAYS;
    if let ([_], []) = (stream.key_fields.as_slice(), stream.params.as_slice()) {
        return format!(
            "parameters $1 {EXPECTED_ARRAYS}, $2 {days} (today of each key), and $3 {days} (the next day)"
        );
    }
    let keys = stream.key_fields.iter();
    let keys = keys.map(|field| format!("{EXPECTED_ARRAYS} ({field})"));
    let today = format!("{days} (today of each key)");
    let params = stream.params.iter();
    let params = params.map(|param| format!("an array for {}, {}", param.name, param.kind));
    let all = keys.chain([today]).chain(params).enumerate();
    let all: Vec<_> = all.map(|(i, text)| format!("${} {text}", i + 1)).collect();
    format!("parameters {}", all.join("; "))
}

/// Describes the first columns that a stream's query returns.
fn expected_columns(stream: &Stream) -> String {
    if let ([_], []) = (stream.key_fields.as_slice(), stream.params.as_slice()) {
        return "the key as first column, with the type of $1".to_owned();
    }
    let params = stream.params.iter().map(|param| &param.name);
    let names: Vec<_> = stream.key_fields.iter().chain(params).cloned().collect();
    format!(
        "the columns {} first, with the types of their parameters",
        names.join(", ")
    )
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
