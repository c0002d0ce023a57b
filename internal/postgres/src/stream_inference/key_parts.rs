//! Counts and names the key parts of a query. Pure.

use std::collections::HashSet;

use tokio_postgres::types::Type;

use crate::day_array::is_day_array;
use crate::error::DatabaseError;
use crate::key_array::{element, key_kind};
use crate::statement_shape::StatementShape;
use latido_stream::{Stream, is_name};

/// The largest number of key parts, as for those that are configured.
const MAX_KEY_PARTS: usize = 8;

/// Returns the names of the key parts: those of the first columns.
///
/// # Errors
/// Returns an error if the parameters are not those of a stream's query, or if a column has a name
/// that cannot be that of a key part.
pub(super) fn infer_key_parts(
    shape: &StatementShape,
    stream: &Stream,
) -> Result<Vec<String>, DatabaseError> {
    let what = format!("the query of stream {}", stream.name);
    let unfit = |expected: &str| DatabaseError::unfit(&what, expected, shape.to_string());
    let Some(count) = count_key_parts(shape, stream.params.len()) else {
        return Err(unfit(
            "an array for each key part, then today of each key (date[]), then an array for each of `params`",
        ));
    };
    if count > MAX_KEY_PARTS {
        return Err(unfit("at most 8 key parts"));
    }
    if !shape.params.iter().take(count).all(is_key_array) {
        return Err(unfit(
            "arrays of key parts first, such as uuid[], bigint[] or text[]",
        ));
    }
    let names = shape.columns.iter().take(count).map(|(name, _)| name);
    let names: Vec<&String> = names.collect();
    let mut seen: HashSet<&str> = stream.params.iter().map(|p| p.name.as_str()).collect();
    seen.insert("timestamp");
    let are_good = names.iter().all(|name| is_name(name) && seen.insert(name));
    if names.len() < count || !are_good {
        return Err(unfit(
            "the key parts as first columns, with names of letters, digits, _ or -; write AS, or `keys` in latido.toml",
        ));
    }
    Ok(names.into_iter().cloned().collect())
}

/// Returns the number of key parts: the parameters without today and those of the configuration.
///
/// The date is counted from the end, because a key part may be a date itself. Without parameters of
/// the configuration there may be two bounds of the day, or none.
fn count_key_parts(shape: &StatementShape, params: usize) -> Option<usize> {
    let rest = shape.params.len().checked_sub(params)?;
    let arrays = shape.params.get(..rest)?;
    match arrays {
        [] if params == 0 => Some(0),
        [.., last] if !is_day_array(last) => (params == 0).then_some(rest),
        [.., day, next] if params == 0 && is_second_bound(shape, rest - 2, day, next) => {
            Some(rest - 2)
        }
        [.., _] => Some(rest - 1),
        [] => None,
    }
}

/// Returns whether the last two parameters are the bounds of the day, and the first of them is no
/// key part.
fn is_second_bound(shape: &StatementShape, index: usize, day: &Type, next: &Type) -> bool {
    let is_key_part = || {
        let column = shape.columns.get(index);
        is_key_array(day) && column.is_some_and(|(_, of)| element(day) == Some(of))
    };
    is_day_array(day) && is_day_array(next) && !is_key_part()
}

fn is_key_array(array: &Type) -> bool {
    key_kind(array).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT: Type = Type::INT8_ARRAY;
    const DAY: Type = Type::DATE_ARRAY;
    const STAMP: Type = Type::TIMESTAMP_ARRAY;

    fn shape(params: &[Type], columns: &[(&str, Type)]) -> StatementShape {
        let columns = columns.iter();
        StatementShape {
            params: params.to_vec(),
            columns: columns
                .map(|(n, of)| ((*n).to_owned(), of.clone()))
                .collect(),
        }
    }

    fn keys(params: &[Type], columns: &[(&str, Type)]) -> Result<String, String> {
        let stream = Stream::test_stream("s", None);
        let names = infer_key_parts(&shape(params, columns), &stream);
        names
            .map(|names| names.join(" "))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn today_is_counted_from_the_end() {
        let total = ("total", Type::INT8);
        let (id, dia) = (("id", Type::INT8), ("dia", Type::DATE));
        for (params, columns, expected) in [
            (vec![INT, DAY], vec![id.clone(), total.clone()], "id"),
            (vec![INT], vec![id.clone(), total.clone()], "id"),
            (vec![DAY], vec![total.clone()], ""),
            (vec![], vec![total.clone()], ""),
            (
                vec![INT, STAMP, STAMP],
                vec![id.clone(), total.clone()],
                "id",
            ),
            (vec![INT, DAY, DAY], vec![id.clone(), total.clone()], "id"),
            (vec![INT, DAY, DAY], vec![id, dia, total], "id dia"),
        ] {
            assert_eq!(
                keys(&params, &columns).as_deref(),
                Ok(expected),
                "{params:?}"
            );
        }
    }

    #[test]
    fn names_that_cannot_be_keys_are_refused() {
        for name in ["?column?", "dos palabras", "timestamp", "año"] {
            let refused = keys(&[INT, DAY], &[(name, Type::INT8), ("n", Type::INT8)]);
            assert!(
                refused.is_err_and(|text| text.contains("write AS")),
                "{name}"
            );
        }
        let twice = [("a", Type::INT8), ("a", Type::INT8), ("n", Type::INT8)];
        assert!(keys(&[INT, INT, DAY], &twice).is_err());
        let scalar = keys(&[Type::INT8, DAY], &[("a", Type::INT8), ("n", Type::INT8)]);
        assert!(scalar.is_err_and(|text| text.contains("arrays of key parts")));
    }

    #[test]
    fn parameters_of_the_configuration_follow_today() {
        let columns = [("id", Type::INT8), ("desde", Type::DATE), ("n", Type::INT8)];
        let found = shape(&[INT, DAY, DAY], &columns);
        assert_eq!(count_key_parts(&found, 1), Some(1));
        assert_eq!(count_key_parts(&shape(&[INT, INT], &columns), 1), None);
        assert_eq!(count_key_parts(&shape(&[], &columns), 1), None);
    }
}
