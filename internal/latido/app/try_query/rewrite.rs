//! A person's own query in the form of a stream, as an example to take over. The server describes an
//! example before anybody sees it.

use latido_postgres::{QueryForm, quote_if_needed};
use latido_stream::statement_text::{
    Scanner, Token, TokenKind, is_name_character, single_statement,
};

/// The name of the keys in an example.
const KEYS: &str = "claves";
/// The name of today's date in an example.
const TODAY: &str = "hoy";

/// Returns a query with one row for each key, made of one that returns a row for each value of its
/// first column. `None` if the column cannot be a key.
pub(super) fn with_row_per_key(query: &str, form: &QueryForm) -> Option<String> {
    let (key, data) = form.columns.split_first()?;
    let of = key.key_type?;
    if data.is_empty() || mentions_keys(query) {
        return None;
    }
    let key = quote_if_needed(&key.name);
    let data: Vec<_> = data
        .iter()
        .map(|column| format!("q.{}", quote_if_needed(&column.name)))
        .collect();
    let body = body_of(query)?;
    Some(format!(
        "SELECT {KEYS}.{key}, {}\nFROM unnest($1::{of}[], $2::date[]) AS {KEYS} ({key}, {TODAY})\nLEFT JOIN (\n{body}\n) AS q ON q.{key} = {KEYS}.{key}",
        data.join(", ")
    ))
}

/// Returns a query with arrays as parameters, made of one whose parameters are single values. `None`
/// if one of them cannot be a key.
pub(super) fn with_array_parameters(query: &str, form: &QueryForm) -> Option<String> {
    if form.parameters.is_empty() || mentions_keys(query) {
        return None;
    }
    let body = body_of(query)?;
    let tokens: Vec<Token<'_>> = Scanner::new(body).collect();
    let count = form.parameters.len();
    let mut names: Vec<String> = (1..=count).map(|number| format!("clave{number}")).collect();
    for (index, token) in tokens.iter().enumerate() {
        if let (Some(number), Some(name)) = (number_of(token), compared_name(&tokens[..index])) {
            *names.get_mut(number - 1)? = name;
        }
    }
    let mut types = Vec::new();
    for (index, parameter) in form.parameters.iter().enumerate() {
        let is_repeated = names[..index].contains(&names[index]) || names[index] == TODAY;
        if parameter.is_array || is_repeated {
            return None;
        }
        types.push(format!("${}::{}[]", index + 1, parameter.key_type?));
    }
    types.push(format!("${}::date[]", count + 1));
    let names: Vec<_> = names.iter().map(|name| quote_if_needed(name)).collect();
    let replaced: String = tokens
        .iter()
        .map(
            |token| match number_of(token).and_then(|number| names.get(number - 1)) {
                Some(name) => format!("{KEYS}.{name}"),
                None => token.text.to_owned(),
            },
        )
        .collect();
    let qualified: Vec<_> = names.iter().map(|name| format!("{KEYS}.{name}")).collect();
    Some(format!(
        "SELECT {}, q.*\nFROM unnest({}) AS {KEYS} ({}, {TODAY})\nCROSS JOIN LATERAL (\n{replaced}\n) AS q",
        qualified.join(", "),
        types.join(", "),
        names.join(", "),
    ))
}

fn body_of(query: &str) -> Option<&str> {
    let body = single_statement(query).ok()?;
    Some(body.trim_end())
}

/// Returns whether the query has a name that would capture the keys of the example.
fn mentions_keys(query: &str) -> bool {
    query.to_lowercase().contains(KEYS)
}

fn number_of(token: &Token<'_>) -> Option<usize> {
    let is_parameter = token.kind == TokenKind::Parameter;
    let number = is_parameter.then(|| token.text[1..].parse().ok())??;
    (number > 0).then_some(number)
}

/// Returns the name of the column that stands before an equals sign at the end of these tokens.
fn compared_name(before: &[Token<'_>]) -> Option<String> {
    let mut texts = before
        .iter()
        .rev()
        .filter(|token| token.kind != TokenKind::Blank);
    let (equals, name) = (texts.next()?, texts.next()?);
    let is_name = name
        .text
        .starts_with(|c: char| is_name_character(c) && !c.is_ascii_digit())
        && name.text.chars().all(is_name_character);
    (equals.text == "=" && is_name).then(|| name.text.to_lowercase())
}

#[cfg(test)]
mod tests {
    use latido_postgres::{QueryColumn, QueryParameter, ValueKind};

    use super::*;

    fn form(parameters: usize, columns: &[&str]) -> QueryForm {
        let parameter = QueryParameter {
            type_name: "int8".to_owned(),
            is_array: false,
            key_type: Some("bigint"),
            can_be_day: false,
            kind: None,
        };
        let column = |name: &&str| QueryColumn {
            name: (*name).to_owned(),
            type_name: "int8".to_owned(),
            kind: ValueKind::Number,
            key_type: Some("bigint"),
        };
        QueryForm {
            parameters: vec![parameter; parameters],
            columns: columns.iter().map(column).collect(),
        }
    }

    #[test]
    fn single_values_become_arrays() {
        let query =
            "SELECT sum(total), '$1' FROM pedidos p -- $2\nWHERE p.tienda_id = $1 AND caja > $2;";
        assert_eq!(
            with_array_parameters(query, &form(2, &["sum"])).unwrap(),
            "SELECT claves.tienda_id, claves.clave2, q.*\n\
             FROM unnest($1::bigint[], $2::bigint[], $3::date[]) AS claves (tienda_id, clave2, hoy)\n\
             CROSS JOIN LATERAL (\n\
             SELECT sum(total), '$1' FROM pedidos p -- $2\nWHERE p.tienda_id = claves.tienda_id AND caja > claves.clave2\n\
             ) AS q"
        );
        assert_eq!(
            with_array_parameters("SELECT 1 FROM claves WHERE a = $1", &form(1, &["x"])),
            None
        );
        assert_eq!(
            with_array_parameters("SELECT a = $1 AND a = $2", &form(2, &["x"])),
            None
        );
    }

    #[test]
    fn first_column_becomes_the_key() {
        let query = "SELECT tienda_id, count(*) AS \"N\" FROM pedidos GROUP BY 1;\n";
        assert_eq!(
            with_row_per_key(query, &form(0, &["tienda_id", "N"])).unwrap(),
            "SELECT claves.tienda_id, q.\"N\"\n\
             FROM unnest($1::bigint[], $2::date[]) AS claves (tienda_id, hoy)\n\
             LEFT JOIN (\n\
             SELECT tienda_id, count(*) AS \"N\" FROM pedidos GROUP BY 1\n\
             ) AS q ON q.tienda_id = claves.tienda_id"
        );
        assert_eq!(with_row_per_key(query, &form(0, &["tienda_id"])), None);
        let reserved = with_row_per_key(query, &form(0, &["desc", "n"])).unwrap();
        assert!(reserved.ends_with("ON q.\"desc\" = claves.\"desc\""));
    }
}
