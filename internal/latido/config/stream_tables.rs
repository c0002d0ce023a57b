//! The tables of a stream, and the way from their rows to its keys.

use serde::Deserialize;

use crate::config::stream_parser::StreamParser;
use latido_stream::{KeyRoute, SourceTable};

/// An entry of `[[streams.NAME.tables]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableEntry {
    table: String,
    key: Option<KeyColumns>,
    via: Option<String>,
    #[serde(default)]
    columns: Vec<String>,
}

/// The columns of a table with the key parts; a single one may be written without brackets.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a column's name, or an array of names, one for each key part"
)]
enum KeyColumns {
    One(String),
    Each(Vec<String>),
}

impl KeyColumns {
    fn into_names(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Each(names) => names,
        }
    }
}

impl StreamParser<'_> {
    pub(super) fn parse_tables(
        &mut self,
        tables: Vec<TableEntry>,
        key_fields: &[String],
    ) -> Vec<SourceTable> {
        let mut parsed = Vec::new();
        for TableEntry {
            table,
            key,
            via,
            columns,
        } in tables
        {
            let route = self.parse_route(&table, key, via, key_fields);
            let keys: &[String] = match &route {
                KeyRoute::Columns(keys) => keys,
                KeyRoute::Lookup(_) | KeyRoute::EveryKey => &[],
            };
            let mut names = std::iter::once(&table).chain(keys).chain(&columns);
            if names.any(|name| name.trim().is_empty()) {
                self.add_error(Some("tables"), "a name is empty; expected the table's, its key columns' and its columns' names");
            }
            // An entry for every key makes any other entry of its table needless.
            let covers = |one: &KeyRoute, other: &KeyRoute| {
                one == other || *one == KeyRoute::EveryKey || *other == KeyRoute::EveryKey
            };
            let is_known =
                |other: &SourceTable| other.name == table && covers(&other.route, &route);
            if parsed.iter().any(is_known) {
                self.add_error(
                    Some("tables"),
                    &format!(
                        "{table:?} comes twice; expected each table once, or with another key"
                    ),
                );
            }
            parsed.push(SourceTable {
                name: table,
                route,
                columns,
            });
        }
        parsed
    }

    /// Returns the way from a changed row of a table to its keys.
    fn parse_route(
        &mut self,
        table: &str,
        key: Option<KeyColumns>,
        via: Option<String>,
        key_fields: &[String],
    ) -> KeyRoute {
        let key = key.map(KeyColumns::into_names);
        match (key, via) {
            (Some(_), Some(_)) => {
                self.add_error(
                    Some("tables"),
                    &format!("{table:?} has both key and via; expected one of both"),
                );
                KeyRoute::EveryKey
            }
            (None, Some(sql)) => KeyRoute::Lookup(self.read_sql("via", &sql)),
            (Some(columns), None) => {
                if columns.len() != key_fields.len() {
                    let expected = key_fields.join(", ");
                    self.add_error(
                        Some("tables"),
                        &format!(
                            "{table:?} names {} key columns; expected one for each key part ({expected})",
                            columns.len()
                        ),
                    );
                }
                KeyRoute::Columns(columns)
            }
            // Every row of every table concerns the only key.
            (None, None) if key_fields.is_empty() => KeyRoute::Columns(Vec::new()),
            (None, None) => KeyRoute::EveryKey,
        }
    }
}
