//! The file `latido.toml`: streams, and listener ports for apps.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use crate::config::ConfigErrors;
use crate::config::app_settings::AppTables;
use crate::config::variables::LATIDO_CONFIG;
use latido_stream::{SYSTEM_STREAM_NAME, SourceTable, Stream, VerificationQuery, ZoneRule};

/// Frame types that the protocol itself uses. A stream's event of such a name would be mistaken for
/// one.
const RESERVED_EVENTS: [&str; 9] = [
    "server",
    "subscribed",
    "unsubscribed",
    "pong",
    "error",
    "status",
    "auth",
    "authenticated",
    "token_expiring",
];
/// Names that the server itself uses, for its own channels and URL paths.
const RESERVED_STREAMS: [&str; 2] = [SYSTEM_STREAM_NAME, "dashboard"];
/// The maximum length, in bytes, of the name of a stream, an event or a key field.
const MAX_NAME_BYTES: usize = 63;

/// The parsed contents of a `latido.toml`.
#[derive(Debug)]
pub(super) struct StreamFile {
    pub(super) admin_roles: Option<Vec<String>>,
    /// `true` to keep built-in streams that no stream of the file replaces.
    pub(super) include_builtin: bool,
    pub(super) streams: Vec<Stream>,
    pub(super) apps: AppTables,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LatidoToml {
    admin_roles: Option<Vec<String>>,
    #[serde(default = "yes")]
    builtin_streams: bool,
    #[serde(default)]
    streams: BTreeMap<String, toml::Value>,
    #[serde(default)]
    apps: AppTables,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamTable {
    query: String,
    check: Option<String>,
    authorize: Option<String>,
    time_zone: Option<String>,
    event: Option<String>,
    key_field: String,
    #[serde(default)]
    tables: Vec<TableEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    table: String,
    key: Option<String>,
    #[serde(default)]
    columns: Vec<String>,
}

fn yes() -> bool {
    true
}

/// Reads the file at `path`. `default_zone` applies to streams without a time zone. Every error is
/// recorded with its position.
pub(super) fn read(
    path: &Path,
    default_zone: &str,
    errors: &mut ConfigErrors,
) -> Option<StreamFile> {
    let unreadable = |error| {
        format!(
            "{} could not be read: {error}; expected the path of a latido.toml",
            path.display()
        )
    };
    let name = LATIDO_CONFIG.name;
    let text = read_text(path)
        .map_err(|error| errors.add(name, unreadable(error)))
        .ok()?;
    parse(&text, path, default_zone, errors)
}

/// Reads a text file. A byte order mark at its beginning, which editors on Windows write, is left
/// out.
fn read_text(path: &Path) -> std::io::Result<String> {
    let text = std::fs::read_to_string(path)?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Parses `text` and returns the names of its streams, for fuzzing.
#[cfg(any(test, fuzzing))]
pub(crate) fn parse_streams(
    text: &str,
    path: &Path,
    errors: &mut ConfigErrors,
) -> Option<Vec<String>> {
    let file = parse(text, path, "UTC", errors)?;
    Some(file.streams.into_iter().map(|stream| stream.name).collect())
}

fn parse(
    text: &str,
    path: &Path,
    default_zone: &str,
    errors: &mut ConfigErrors,
) -> Option<StreamFile> {
    let top: LatidoToml = toml::from_str(text)
        .map_err(|error| errors.add(path.display().to_string(), error.to_string()))
        .ok()?;
    let mut streams = Vec::new();
    for (name, table) in top.streams {
        let mut parser = StreamParser {
            path,
            dir: path.parent().unwrap_or(Path::new("")),
            stream_name: &name,
            errors,
        };
        match table.try_into::<StreamTable>() {
            Ok(table) => streams.push(parser.stream(table, default_zone)),
            Err(error) => parser.add_error(None, error.message()),
        }
    }
    Some(StreamFile {
        admin_roles: top.admin_roles,
        include_builtin: top.builtin_streams,
        streams,
        apps: top.apps,
    })
}

/// The context for parsing one stream's table: its file, its name, and the list of errors.
struct StreamParser<'a> {
    path: &'a Path,
    dir: &'a Path,
    stream_name: &'a str,
    errors: &'a mut ConfigErrors,
}

impl StreamParser<'_> {
    fn add_error(&mut self, field: Option<&str>, problem: &str) {
        let field = field.map(|field| format!(" {field}")).unwrap_or_default();
        self.errors.add(
            format!(
                "{} [streams.{}]{field}",
                self.path.display(),
                self.stream_name
            ),
            problem,
        );
    }

    /// Converts a table to a stream. If part of it is invalid, the result is a placeholder until
    /// the errors are reported.
    fn stream(&mut self, table: StreamTable, default_zone: &str) -> Stream {
        self.check_names(&table);
        let tables = self.parse_tables(table.tables);
        Stream {
            name: self.stream_name.to_owned(),
            query: self.read_sql("query", &table.query),
            verification: table
                .check
                .map(|sql| VerificationQuery::new(self.read_sql("check", &sql))),
            authorize_query: table.authorize.map(|sql| self.read_sql("authorize", &sql)),
            zone_rule: self.parse_zone(table.time_zone, default_zone),
            event: table.event.unwrap_or_else(|| self.stream_name.to_owned()),
            key_field: table.key_field,
            tables,
            key_type: OnceLock::new(),
        }
    }

    fn check_names(&mut self, table: &StreamTable) {
        let expected = "expected 1 to 63 letters, digits, _ or -";
        if !is_name(self.stream_name) {
            self.add_error(None, &format!("a bad name for a stream; {expected}"));
        }
        if RESERVED_STREAMS.contains(&self.stream_name) {
            self.add_error(None, "this name is the server's own; expected another word");
        }
        if !is_name(&table.key_field) {
            self.add_error(Some("key_field"), expected);
        }
        if table.event.as_deref().is_some_and(|event| !is_name(event)) {
            self.add_error(Some("event"), expected);
        }
        let event = table.event.as_deref().unwrap_or(self.stream_name);
        if RESERVED_EVENTS.contains(&event) {
            self.add_error(
                Some("event"),
                &format!("{event:?} is the protocol's own; expected another word"),
            );
        }
    }

    fn parse_tables(&mut self, tables: Vec<TableEntry>) -> Vec<SourceTable> {
        let mut seen = HashSet::new();
        for table in &tables {
            let names = [Some(&table.table), table.key.as_ref()]
                .into_iter()
                .flatten()
                .chain(&table.columns);
            if names.into_iter().any(|name| name.trim().is_empty()) {
                self.add_error(Some("tables"), "a name is empty; expected the table's, its key column's and its columns' names");
            }
            if !seen.insert(&table.table) {
                self.add_error(
                    Some("tables"),
                    &format!("{:?} comes twice; expected each table once", table.table),
                );
            }
        }
        tables
            .into_iter()
            .map(
                |TableEntry {
                     table,
                     key,
                     columns,
                 }| SourceTable {
                    name: table,
                    key_column: key,
                    columns,
                },
            )
            .collect()
    }

    /// Returns SQL text, or the contents of a file if the text ends in `.sql`. Paths are relative
    /// to the directory of `latido.toml`.
    fn read_sql(&mut self, field: &str, text: &str) -> String {
        let text = text.trim();
        let sql = if is_sql_path(text) {
            self.read_file(field, text)
        } else {
            Some(text.to_owned())
        };
        if sql.as_ref().is_some_and(|sql| sql.trim().is_empty()) {
            self.add_error(
                Some(field),
                "is empty; expected SQL, or the path of a file that ends in .sql",
            );
        }
        sql.unwrap_or_default()
    }

    fn read_file(&mut self, field: &str, relative: &str) -> Option<String> {
        let path: PathBuf = self.dir.join(relative);
        read_text(&path)
            .map_err(|error| {
                self.add_error(
                    Some(field),
                    &format!("{} could not be read: {error}", path.display()),
                )
            })
            .ok()
    }

    fn parse_zone(&mut self, text: Option<String>, default: &str) -> ZoneRule {
        let Some(text) = text else {
            return ZoneRule::Fixed(default.to_owned());
        };
        let text = text.trim();
        if is_sql_path(text) || is_query(text) {
            return ZoneRule::Query {
                sql: self.read_sql("time_zone", text),
                default: default.to_owned(),
            };
        }
        let name = latido_settings::time_zone(text);
        if name.is_none() {
            let expected = "an IANA time zone such as America/Guayaquil, a query (SELECT or WITH), or the path of a .sql file";
            self.add_error(
                Some("time_zone"),
                &format!("{text:?} is wrong; expected {expected}"),
            );
        }
        ZoneRule::Fixed(name.unwrap_or_default())
    }
}

fn is_sql_path(text: &str) -> bool {
    text.ends_with(".sql") && !text.contains('\n')
}

/// Distinguishes a query from a zone name: zone names contain no whitespace.
fn is_query(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.contains(char::is_whitespace)
        && ["select", "with"]
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word))
}

/// Checks a name that will appear in channels, frames and token claims.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

#[cfg(test)]
#[path = "stream_file_tests.rs"]
mod tests;
