//! The tables of a stream, and the way from their rows to its keys.

use serde::Deserialize;

use crate::config::stream_parser::StreamParser;
use crate::config::toml_fields::Fields;
use latido_stream::{KeyRoute, SourceTable};

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
    /// Parses the entries of `[[streams.NAME.tables]]`.
    pub(super) fn parse_tables(
        &mut self,
        tables: Vec<toml::Table>,
        key_fields: Option<&[String]>,
    ) -> Vec<SourceTable> {
        let mut parsed = Vec::new();
        for (entry, number) in tables.into_iter().zip(1..) {
            let mut fields = Fields::new(entry);
            let has_route = fields.has("key") || fields.has("via");
            let table: Option<String> = fields.require("table");
            let key: Option<KeyColumns> = fields.take("key");
            let via: Option<String> = fields.take("via");
            let columns: Vec<String> = fields.take("columns").unwrap_or_default();
            let of = match &table {
                Some(table) => format!("{table:?}"),
                None => format!("entry {number}"),
            };
            for (field, problem) in fields.finish() {
                let field = field.map(|field| format!(" {field}")).unwrap_or_default();
                self.add_error(Some("tables"), &format!("{of}{field}: {problem}"));
            }
            // A mistake in one of them must not look like an entry for every key.
            let (Some(table), false) = (table, has_route && key.is_none() && via.is_none()) else {
                continue;
            };
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
        key_fields: Option<&[String]>,
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
                if let Some(key_fields) = key_fields
                    && columns.len() != key_fields.len()
                {
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
            (None, None) if key_fields.is_some_and(<[String]>::is_empty) => {
                KeyRoute::Columns(Vec::new())
            }
            (None, None) => KeyRoute::EveryKey,
        }
    }
}
