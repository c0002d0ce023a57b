//! The file `latido.toml`: streams, and listener ports for apps.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use serde::Deserialize;

use crate::config::ConfigErrors;
use crate::config::app_settings::AppTables;
use crate::config::stream_params::StreamParams;
use crate::config::stream_parser::{EXPECTED_NAME, StreamParser, is_name, is_sql_path, read_text};
use crate::config::stream_tables::TableEntry;
use crate::config::variables::LATIDO_CONFIG;
use latido_stream::{SYSTEM_STREAM_NAME, Stream, VerificationQuery, ZoneRule};

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
/// The largest number of key parts. PostgreSQL's own limit for an index is 32 columns.
const MAX_KEY_PARTS: usize = 8;
/// The longest `interval_ms`: an hour.
const MAX_INTERVAL_MS: u64 = 3_600_000;

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
    key_field: Option<String>,
    keys: Option<Vec<String>>,
    interval_ms: Option<u64>,
    /// In the order of the file, which is that of the query's parameters.
    #[serde(default)]
    params: toml::Table,
    #[serde(default)]
    tables: Vec<TableEntry>,
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

impl StreamParser<'_> {
    /// Converts a table to a stream. If part of it is invalid, the result is a placeholder until
    /// the errors are reported.
    fn stream(&mut self, table: StreamTable, default_zone: &str) -> Stream {
        self.check_names(&table);
        let key_fields = self.parse_keys(table.key_field, table.keys);
        let tables = self.parse_tables(table.tables, &key_fields);
        let params = StreamParams::new(self).parse(table.params, &key_fields);
        Stream {
            name: self.stream_name.to_owned(),
            query: self.read_sql("query", &table.query),
            verification: table
                .check
                .map(|sql| VerificationQuery::new(self.read_sql("check", &sql))),
            authorize_query: table
                .authorize
                .map(|sql| self.read_sql("authorize", &sql).into()),
            zone_rule: self.parse_zone(table.time_zone, default_zone),
            event: table.event.unwrap_or_else(|| self.stream_name.to_owned()),
            key_fields,
            params,
            interval: self.parse_interval(table.interval_ms),
            tables,
            key_types: OnceLock::new(),
        }
    }

    fn check_names(&mut self, table: &StreamTable) {
        if !is_name(self.stream_name) {
            self.add_error(None, &format!("a bad name for a stream; {EXPECTED_NAME}"));
        }
        if RESERVED_STREAMS.contains(&self.stream_name) {
            self.add_error(None, "this name is the server's own; expected another word");
        }
        if table.event.as_deref().is_some_and(|event| !is_name(event)) {
            self.add_error(Some("event"), EXPECTED_NAME);
        }
        let event = table.event.as_deref().unwrap_or(self.stream_name);
        if RESERVED_EVENTS.contains(&event) {
            self.add_error(
                Some("event"),
                &format!("{event:?} is the protocol's own; expected another word"),
            );
        }
    }

    /// Returns the names of the key parts. `key_field` is the short form of one.
    fn parse_keys(&mut self, field: Option<String>, keys: Option<Vec<String>>) -> Vec<String> {
        let is_short = field.is_some();
        let fields = match (field, keys) {
            (Some(field), None) => vec![field],
            (None, Some(keys)) => keys,
            (None, None) => {
                self.add_error(None, "missing field `key_field`; expected it, or keys = [\"…\"]; keys = [] is a stream without a key");
                return Vec::new();
            }
            (Some(_), Some(keys)) => {
                self.add_error(
                    Some("keys"),
                    "stands beside key_field; expected one of both",
                );
                keys
            }
        };
        let setting = if is_short { "key_field" } else { "keys" };
        if !fields.iter().all(|field| is_name(field)) {
            self.add_error(Some(setting), EXPECTED_NAME);
        }
        if fields.len() > MAX_KEY_PARTS {
            self.add_error(
                Some(setting),
                &format!("expected at most {MAX_KEY_PARTS} key parts"),
            );
        }
        let mut seen = HashSet::new();
        for field in &fields {
            if !seen.insert(field) {
                self.add_error(
                    Some(setting),
                    &format!("{field:?} comes twice; expected it once"),
                );
            }
            if !is_short && field == "timestamp" {
                self.add_error(
                    Some(setting),
                    "\"timestamp\" is the protocol's own; expected another word",
                );
            }
        }
        fields
    }

    fn parse_interval(&mut self, milliseconds: Option<u64>) -> Option<Duration> {
        let milliseconds = milliseconds?;
        if milliseconds > MAX_INTERVAL_MS {
            self.add_error(
                Some("interval_ms"),
                &format!("expected 0 to {MAX_INTERVAL_MS} milliseconds"),
            );
        }
        Some(Duration::from_millis(milliseconds))
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

/// Distinguishes a query from a zone name: zone names contain no whitespace.
fn is_query(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    text.contains(char::is_whitespace)
        && ["select", "with"]
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[path = "stream_file_tests.rs"]
mod tests;
