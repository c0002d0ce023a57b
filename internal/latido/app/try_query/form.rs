//! The stream that a query is, as far as its parameters and columns tell.

use std::sync::OnceLock;

use latido_postgres::{QueryColumn, QueryForm, QueryParameter};
use latido_stream::{Inference, Param, Stream, ZoneRule, is_name};

/// The parts of a stream that the query's text does not say.
#[derive(Debug, Clone)]
pub(super) struct StreamFacts<'a> {
    pub(super) name: &'a str,
    /// The IANA zone that decides which day is today.
    pub(super) time_zone: &'a str,
    /// The names of the key parts, or `None` to take those of the first columns.
    pub(super) keys: Option<&'a [String]>,
}

/// The reason why a query is not that of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FormProblem {
    #[error(
        "${number} is {type_name}; a stream reads many keys with one query, so expected an array, such as ${number}::{type_name}[]"
    )]
    Scalar { number: usize, type_name: String },
    #[error(
        "${number} is {type_name}, which cannot be a part of a key; expected an array of uuid, integers, text, dates or an enum"
    )]
    NotAKey { number: usize, type_name: String },
    #[error(
        "the query has {found} parameters, and --keys names {named} parts: expected one parameter for each part, then date[]"
    )]
    TooFewParameters { found: usize, named: usize },
    #[error(
        "${number} is {type_name}; expected date[] behind the key, which holds today's date of each key"
    )]
    NotADay { number: usize, type_name: String },
    #[error(
        "${number} is {type_name}, which cannot be a parameter; expected an array of date, integers, text, boolean or an enum"
    )]
    NotAParam { number: usize, type_name: String },
    #[error(
        "column {number} is named {name:?}; expected a name of letters, digits, _ and -, since it is a part of the key or a parameter"
    )]
    BadName { number: usize, name: String },
    #[error(
        "--keys: {name:?} is no name, or comes twice; expected names of letters, digits, _ and -"
    )]
    BadKey { name: String },
    #[error(
        "the query has {found} columns; expected {needed} for the key and the parameters, then at least one more"
    )]
    TooFewColumns { found: usize, needed: usize },
}

/// Returns the stream of a query.
///
/// # Errors
/// Returns an error if the parameters or columns are not those of a stream.
pub(super) fn stream_of(
    query: &str,
    form: &QueryForm,
    facts: &StreamFacts<'_>,
) -> Result<Stream, FormProblem> {
    let all = &form.parameters;
    if let Some((number, scalar)) = find(all, |parameter| !parameter.is_array) {
        let type_name = scalar.type_name.clone();
        return Err(FormProblem::Scalar { number, type_name });
    }
    let given = facts.keys.unwrap_or_default();
    let is_bad =
        |(index, name): &(usize, &String)| !is_name(name) || given[..*index].contains(name);
    if let Some((_, name)) = given.iter().enumerate().find(is_bad) {
        return Err(FormProblem::BadKey { name: name.clone() });
    }
    let count = facts.keys.map_or_else(|| key_count(all), <[String]>::len);
    let Some((keys, rest)) = all.split_at_checked(count) else {
        return Err(FormProblem::TooFewParameters {
            found: all.len(),
            named: count,
        });
    };
    if let Some((number, other)) = find(keys, |parameter| parameter.key_type.is_none()) {
        let type_name = other.type_name.clone();
        return Err(FormProblem::NotAKey { number, type_name });
    }
    let params = params(rest, count, form)?;
    let topic = names(&form.columns, count + params.len())?;
    let (key_names, param_names) = topic.split_at(count);
    let params = params.into_iter().zip(param_names);
    Ok(Stream {
        name: facts.name.to_owned(),
        query: query.to_owned(),
        verification: None,
        history_query: None,
        authorize_query: None,
        zone_rule: ZoneRule::Fixed(facts.time_zone.to_owned()),
        event: facts.name.to_owned(),
        key_fields: facts.keys.map_or(key_names, |keys| keys).to_vec(),
        params: params
            .map(|(kind, name)| Param {
                name: name.clone(),
                kind,
                default: None,
            })
            .collect(),
        interval: None,
        tables: Vec::new(),
        key_types: OnceLock::new(),
        inference: Inference::default(),
        revision: 0,
    })
}

/// Returns the first parameter with a property, and its number.
fn find(
    all: &[QueryParameter],
    has: impl Fn(&QueryParameter) -> bool,
) -> Option<(usize, &QueryParameter)> {
    let index = all.iter().position(has)?;
    Some((index + 1, &all[index]))
}

/// Returns the number of key parts: they come before the day.
fn key_count(all: &[QueryParameter]) -> usize {
    let day = all.iter().position(|parameter| parameter.can_be_day);
    day.unwrap_or(all.len())
}

/// Returns the kinds of the parameters behind the day. There are none if `latido install`, which
/// finds parameters in `latido.toml` alone, counts the same key parts; but a date that is returned is
/// one.
fn params(
    rest: &[QueryParameter],
    keys: usize,
    form: &QueryForm,
) -> Result<Vec<latido_stream::ParamKind>, FormProblem> {
    let Some((day, behind)) = rest.split_first() else {
        return Ok(Vec::new());
    };
    if !day.can_be_day {
        return Err(FormProblem::NotADay {
            number: keys + 1,
            type_name: day.type_name.clone(),
        });
    }
    let is_param = |array: &QueryParameter| array.kind.is_some() && form.returns(keys, array);
    if form.count_key_parts(0) == Some(keys) && !behind.iter().any(is_param) {
        return Ok(Vec::new());
    }
    let kind = |(index, parameter): (usize, &QueryParameter)| {
        parameter
            .kind
            .clone()
            .ok_or_else(|| FormProblem::NotAParam {
                number: keys + index + 2,
                type_name: parameter.type_name.clone(),
            })
    };
    behind.iter().enumerate().map(kind).collect()
}

/// Returns the names of the first columns.
fn names(columns: &[QueryColumn], count: usize) -> Result<Vec<String>, FormProblem> {
    if columns.len() <= count {
        return Err(FormProblem::TooFewColumns {
            found: columns.len(),
            needed: count,
        });
    }
    let name = |(index, column): (usize, &QueryColumn)| match is_name(&column.name) {
        true => Ok(column.name.clone()),
        false => Err(FormProblem::BadName {
            number: index + 1,
            name: column.name.clone(),
        }),
    };
    columns.iter().take(count).enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use latido_postgres::ValueKind;
    use latido_stream::ParamKind;

    use super::*;

    type Names<'a> = &'a [&'a str];

    fn form(parameters: &[&str], columns: &[&str]) -> QueryForm {
        let parameter = |of: &&str| {
            let element = of.trim_end_matches("[]");
            QueryParameter {
                type_name: (*of).to_owned(),
                is_array: of.ends_with("[]"),
                key_type: ["bigint", "date", "text"]
                    .into_iter()
                    .find(|key| *key == element),
                can_be_day: ["date[]", "timestamptz[]"].contains(of),
                kind: match element {
                    "date" => Some(ParamKind::Date),
                    "bigint" => Some(ParamKind::Integer),
                    _ => None,
                },
            }
        };
        let column = |text: &&str| {
            let (name, of) = text.split_once(' ').unwrap();
            QueryColumn {
                name: name.to_owned(),
                type_name: of.to_owned(),
                kind: ValueKind::Text,
                key_type: None,
            }
        };
        QueryForm {
            parameters: parameters.iter().map(parameter).collect(),
            columns: columns.iter().map(column).collect(),
        }
    }

    fn parts(
        parameters: &[&str],
        columns: &[&str],
        keys: Option<&[String]>,
    ) -> Result<(Vec<String>, Vec<String>), FormProblem> {
        let facts = StreamFacts {
            name: "q",
            time_zone: "UTC",
            keys,
        };
        let stream = stream_of("SELECT", &form(parameters, columns), &facts)?;
        let params = stream.params.into_iter().map(|param| param.name);
        Ok((stream.key_fields, params.collect()))
    }

    #[test]
    fn keys_and_parameters_are_told_apart_by_the_day() {
        let columns = ["a bigint", "b date", "c date", "n bigint"];
        let plain = ["a bigint", "n bigint", "m bigint"];
        let cases: [(Names<'_>, Names<'_>, Names<'_>, Names<'_>); 9] = [
            (&[], &plain, &[], &[]),
            (&["date[]"], &plain, &[], &[]),
            (&["bigint[]"], &plain, &["a"], &[]),
            (&["bigint[]", "date[]"], &plain, &["a"], &[]),
            (&["bigint[]", "date[]", "date[]"], &plain, &["a"], &[]),
            (&["bigint[]", "date[]", "date[]"], &columns, &["a"], &["b"]),
            (
                &["bigint[]", "timestamptz[]", "timestamptz[]"],
                &columns,
                &["a"],
                &[],
            ),
            (
                &["bigint[]", "timestamptz[]", "date[]"],
                &columns,
                &["a"],
                &["b"],
            ),
            (
                &["bigint[]", "date[]", "date[]", "date[]"],
                &columns,
                &["a"],
                &["b", "c"],
            ),
        ];
        for (parameters, columns, keys, params) in cases {
            let expected =
                [keys, params].map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(
                parts(parameters, columns, None),
                Ok(expected.into()),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn a_named_key_may_be_a_date() {
        let keys = ["a".to_owned(), "dia".to_owned()];
        let found = parts(
            &["bigint[]", "date[]", "date[]"],
            &["x bigint", "y date", "n bigint"],
            Some(&keys),
        );
        assert_eq!(found, Ok((keys.to_vec(), Vec::new())));
    }

    #[test]
    fn other_forms_are_refused_with_what_was_expected() {
        let message = |parameters: &[&str], columns: &[&str]| {
            parts(parameters, columns, None).unwrap_err().to_string()
        };
        assert!(message(&["bigint"], &["n bigint"]).starts_with("$1 is bigint; "));
        assert!(
            message(&["money[]"], &["n bigint", "m bigint"]).contains("cannot be a part of a key")
        );
        assert!(
            message(&["bigint[]", "date[]", "money[]"], &["n bigint"]).starts_with("$3 is money[]")
        );
        assert!(message(&["bigint[]"], &["n bigint"]).contains("1 columns"));
        assert!(message(&["bigint[]"], &["?column? bigint", "n bigint"]).contains("?column?"));
    }
}
