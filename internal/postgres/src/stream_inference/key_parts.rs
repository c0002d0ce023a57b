//! Counts and names the key parts of a query. Pure.

use std::collections::HashSet;

use crate::error::DatabaseError;
use crate::query_form::{QueryForm, QueryParameter};
use crate::statement_shape::StatementShape;
use latido_stream::{MAX_KEY_PARTS, Stream, is_name};

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
    let form = QueryForm::of_shape(shape);
    let Some(count) = form.count_key_parts(stream.params.len()) else {
        return Err(unfit(
            "an array for each key part, then today of each key (date[]), then an array for each of `params`",
        ));
    };
    if count > MAX_KEY_PARTS {
        return Err(unfit(&format!("at most {MAX_KEY_PARTS} key parts")));
    }
    if !form.parameters.iter().take(count).all(is_key_array) {
        return Err(unfit(
            "arrays of key parts first, such as uuid[], bigint[] or text[]",
        ));
    }
    let names = form.columns.into_iter().take(count);
    let names: Vec<String> = names.map(|column| column.name).collect();
    let mut seen: HashSet<&str> = stream.params.iter().map(|p| p.name.as_str()).collect();
    seen.insert("timestamp");
    let are_good = names.iter().all(|name| is_name(name) && seen.insert(name));
    if names.len() < count || !are_good {
        return Err(unfit(
            "the key parts as first columns, with names of letters, digits, _ or -; write AS, or `keys` in latido.toml",
        ));
    }
    Ok(names)
}

impl QueryForm {
    /// Returns the number of key parts: the parameters without the days and `params`, the number of
    /// those that the configuration declares. Returns `None` if the parameters are not those of a
    /// stream's query.
    ///
    /// The day is counted from the end, because a key part may be a date itself. Without parameters
    /// of the configuration there may be two bounds of the day, or none.
    #[must_use]
    pub fn count_key_parts(&self, params: usize) -> Option<usize> {
        let rest = self.parameters.len().checked_sub(params)?;
        let arrays = self.parameters.get(..rest)?;
        match arrays {
            [] if params == 0 => Some(0),
            [.., last] if !last.can_be_day => (params == 0).then_some(rest),
            [.., day, _] if params == 0 && day.can_be_day => {
                let is_key_part = day.key_type.is_some() && self.returns(rest - 2, day);
                Some(if is_key_part { rest - 1 } else { rest - 2 })
            }
            [.., _] => Some(rest - 1),
            [] => None,
        }
    }

    /// Returns those of the inferred key parts that may be what a client chooses beside the key: what
    /// stands behind the first array that can be the day. Only the configuration can tell.
    #[must_use]
    pub(super) fn possible_params(&self, key_parts: &[String]) -> Vec<String> {
        let parameters = &self.parameters;
        let day = parameters.iter().position(|array| array.can_be_day);
        let Some(day) = day.filter(|day| *day < key_parts.len()) else {
            return Vec::new();
        };
        let behind = parameters.len() - day - 1;
        key_parts.iter().skip(day).take(behind).cloned().collect()
    }

    /// Returns a warning if the only array is today, and the query returns its elements as it would
    /// return a key.
    #[must_use]
    pub(super) fn doubtful_day(&self, key_parts: &[String]) -> Option<String> {
        let ([day], [], Some(column)) = (&*self.parameters, key_parts, self.columns.first()) else {
            return None;
        };
        let may_be_key = day.key_type.is_some() && self.returns(0, day);
        may_be_key.then(|| {
            format!(
                "it has no key, because $1 alone is today; if $1 is the key, write keys = [{:?}] in latido.toml",
                column.name
            )
        })
    }

    /// Returns whether the column with this index has the type of an array's elements. A bound of the
    /// day is not returned.
    #[must_use]
    pub fn returns(&self, index: usize, array: &QueryParameter) -> bool {
        let column = self.columns.get(index);
        column.is_some_and(|column| array.type_name == format!("{}[]", column.type_name))
    }
}

fn is_key_array(parameter: &QueryParameter) -> bool {
    parameter.is_array && parameter.key_type.is_some()
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::*;
    use crate::columns::CastTypes;

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
            cast_types: CastTypes::default(),
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
    fn arrays_behind_a_day_may_be_parameters() {
        let days = [
            ("tag", Type::TEXT),
            ("desde", Type::DATE),
            ("hasta", Type::DATE),
        ];
        let possible = |params: &[Type], names: &[&str]| {
            let form = QueryForm::of_shape(&shape(params, &days));
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            form.possible_params(&names).join(" ")
        };
        let text = Type::TEXT_ARRAY;
        let all = ["tag", "desde", "hasta"];
        assert_eq!(
            possible(&[text.clone(), DAY, DAY, DAY], &all),
            "desde hasta"
        );
        // An integer behind the day: all three count as key parts.
        assert_eq!(possible(&[text.clone(), DAY, INT], &all), "desde");
        assert_eq!(possible(&[text.clone(), DAY], &all[..1]), "");
        assert_eq!(possible(&[text, STAMP, STAMP], &all[..1]), "");
        assert_eq!(possible(&[], &[]), "");
    }

    #[test]
    fn date_that_is_returned_may_be_the_key() {
        let warning = |params: &[Type], first: Type, keys: &[&str]| {
            let form = QueryForm::of_shape(&shape(params, &[("dia", first), ("n", Type::INT8)]));
            let keys: Vec<_> = keys.iter().map(|name| (*name).to_owned()).collect();
            form.doubtful_day(&keys)
        };
        let found = warning(&[DAY], Type::DATE, &[]).unwrap();
        assert!(found.contains("write keys = [\"dia\"]"), "{found}");
        assert_eq!(warning(&[DAY], Type::INT8, &[]), None);
        assert_eq!(warning(&[STAMP], Type::TIMESTAMP, &[]), None);
        assert_eq!(warning(&[DAY, DAY], Type::DATE, &["dia"]), None);
        assert_eq!(warning(&[], Type::DATE, &[]), None);
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
        let count = |params: &[Type]| {
            let form = QueryForm::of_shape(&shape(params, &columns));
            form.count_key_parts(1)
        };
        assert_eq!(count(&[INT, DAY, DAY]), Some(1));
        assert_eq!(count(&[INT, INT]), None);
        assert_eq!(count(&[]), None);
    }
}
