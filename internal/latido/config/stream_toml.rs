//! Writes what a query decides as entries of `latido.toml`, for people who prefer to see it.

use std::fmt::Write as _;

use latido_postgres::{InferredStream, UnprovenTable};
use latido_stream::{KeyRoute, SourceTable, Stream};

/// Returns the whole entry of a stream. `file` is the path of its SQL file, as the configuration
/// names it. Where a person has to choose, the entry has the choice that is always right, and the
/// others as comments.
pub(crate) fn stream_entry(stream: &Stream, file: &str, inferred: &InferredStream) -> String {
    let name = &stream.name;
    let mut text = format!("[streams.{name}]\nquery = {}\n", quoted(file));
    text.push_str(&keys_line(inferred));
    text + &table_entries(name, inferred)
}

/// Returns the part of the entry that a stream of `latido.toml` lacks.
pub(crate) fn missing_part(stream: &Stream, inferred: &InferredStream) -> String {
    let keys = match stream.inference.keys {
        true => format!("# in [streams.{}]: {}", stream.name, keys_line(inferred)),
        false => String::new(),
    };
    keys + table_entries(&stream.name, inferred).trim_start()
}

fn keys_line(inferred: &InferredStream) -> String {
    format!("keys = {}\n", list(&inferred.key_fields))
}

fn table_entries(stream: &str, inferred: &InferredStream) -> String {
    let proven = inferred.source_tables();
    let proven = proven.iter().map(|table| table_entry(stream, table));
    let unproven = inferred.unproven.iter();
    proven
        .chain(unproven.map(|table| unproven_entry(stream, table)))
        .collect()
}

fn table_entry(stream: &str, table: &SourceTable) -> String {
    let mut text = format!(
        "\n[[streams.{stream}.tables]]\ntable = {}\n",
        quoted(&table.name)
    );
    text.push_str(&route_line(&table.route));
    text + &columns_line(&table.columns)
}

/// Returns the entry that lets any change concern every key, and the other candidates as comments.
fn unproven_entry(stream: &str, table: &UnprovenTable) -> String {
    let mut text = format!(
        "\n# {}: {}.\n# As it is here, any change concerns every key, which is always right.\n\
         [[streams.{stream}.tables]]\ntable = {}\n{}",
        in_comment(&table.name),
        in_comment(&table.reason),
        quoted(&table.name),
        columns_line(&table.columns),
    );
    for suggestion in &table.suggestions {
        let lines = suggestion.routes.iter().map(route_line);
        // A text of several lines, which are parts of the comment each.
        let lines = lines.map(|line| line.trim_end().replace('\n', "\n# "));
        let lines: Vec<_> = lines.collect();
        // Writing to a String never fails.
        let _ = match lines.as_slice() {
            [one] => writeln!(text, "# or, if it is right ({}): {one}", suggestion.origin),
            several => writeln!(
                text,
                "# or, if it is right ({}), an entry for each of: {}",
                suggestion.origin,
                several.join("; ")
            ),
        };
    }
    text
}

/// Returns a text that cannot end the comment in which it stands. TOML allows no control characters.
fn in_comment(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn route_line(route: &KeyRoute) -> String {
    match route {
        KeyRoute::Columns(columns) => match columns.as_slice() {
            [] => String::new(),
            [one] => format!("key = {}\n", quoted(one)),
            several => format!("key = {}\n", list(several)),
        },
        KeyRoute::Lookup(sql) => format!("via = {}\n", quoted(sql)),
        KeyRoute::EveryKey => String::new(),
    }
}

fn columns_line(columns: &[String]) -> String {
    match columns.is_empty() {
        true => String::new(),
        false => format!("columns = {}\n", list(columns)),
    }
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use latido_postgres::{InferredTable, KeySuggestion};

    fn inferred() -> InferredStream {
        InferredStream {
            key_fields: vec!["tienda_id".to_owned(), "caja".to_owned()],
            possible_params: Vec::new(),
            tables: vec![InferredTable {
                name: "pedidos".to_owned(),
                columns: vec!["total".to_owned()],
                routes: vec![KeyRoute::Columns(vec![
                    "tienda".to_owned(),
                    "caja".to_owned(),
                ])],
                paths: vec!["tienda, caja".to_owned()],
            }],
            unproven: vec![UnprovenTable {
                name: "Las\n[líneas]".to_owned(),
                columns: Vec::new(),
                reason: "no path".to_owned(),
                suggestions: vec![KeySuggestion {
                    routes: vec![KeyRoute::Lookup("SELECT \"a\n\" FROM changed".to_owned())],
                    origin: "the foreign keys",
                }],
            }],
            refusals: Vec::new(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn entry_is_toml_with_the_choice_that_is_always_right() {
        let stream = Stream {
            name: "ventas".to_owned(),
            ..any_stream()
        };
        let text = stream_entry(&stream, "streams/ventas.sql", &inferred());
        let parsed: toml::Table = toml::from_str(&text).unwrap();
        let tables = parsed["streams"]["ventas"]["tables"].as_array().unwrap();
        assert_eq!(
            parsed["streams"]["ventas"]["query"].as_str(),
            Some("streams/ventas.sql")
        );
        assert_eq!(tables[0]["columns"].as_array().unwrap().len(), 3);
        assert_eq!(tables[1]["table"].as_str(), Some("Las\n[líneas]"));
        assert!(tables[1].get("key").is_none() && tables[1].get("via").is_none());
        assert!(
            text.contains("# or, if it is right (the foreign keys): via = "),
            "{text}"
        );
    }

    fn any_stream() -> Stream {
        crate::config::builtin::estadisticas("UTC")
    }
}
