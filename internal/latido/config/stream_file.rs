//! The file `latido.toml`: streams, and listener ports for apps.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::config::ConfigErrors;
use crate::config::app_settings::AppTables;
use crate::config::repeated_stream::{RepeatedStream, repeated_stream};
use crate::config::stream_params::StreamParams;
use crate::config::stream_parser::{EXPECTED_NAME, StreamParser, is_sql_path, read_text};
use crate::config::toml_fields::Fields;
use crate::config::variables::LATIDO_CONFIG;
use latido_stream::{
    Inference, MAX_KEY_PARTS, SYSTEM_STREAM_NAME, Stream, VerificationQuery, ZoneRule, is_name,
};

/// Frame types that the protocol itself uses. A stream's event of such a name would be mistaken for
/// one.
const RESERVED_EVENTS: [&str; 10] = [
    "server",
    "subscribed",
    "unsubscribed",
    "pong",
    "error",
    "status",
    "auth",
    "authenticated",
    "token_expiring",
    "history",
];
/// Names that the server itself uses, for its own channels and URL paths.
const RESERVED_STREAMS: [&str; 2] = [SYSTEM_STREAM_NAME, "dashboard"];
/// The longest `interval_ms`: an hour.
const MAX_INTERVAL_MS: u64 = 3_600_000;

/// The parsed contents of a `latido.toml`.
#[derive(Debug, Default)]
pub(super) struct StreamFile {
    pub(super) admin_roles: Option<Vec<String>>,
    /// `false` removes the built-in streams, and `true` demands their tables. Without it they are
    /// served where the database has their tables.
    pub(super) builtin_streams: Option<bool>,
    pub(super) streams: Vec<Stream>,
    /// The SQL files that the streams name.
    pub(super) sql_files: Vec<PathBuf>,
    pub(super) apps: AppTables,
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

/// Returns the names of the streams that the file at `path` defines, whether their tables are right or
/// not. A file that does not exist defines none.
///
/// # Errors
/// Returns an error if the file cannot be read or is no TOML.
pub(crate) fn defined_streams(path: &Path) -> Result<Vec<String>, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            errors.add(
                path.display().to_string(),
                format!("could not be read: {error}"),
            );
            return Err(errors);
        }
    };
    let table = parse_toml(&text, path, &mut errors).ok_or(errors)?;
    let streams = table.get("streams").and_then(toml::Value::as_table);
    Ok(streams
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect())
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

/// Returns the stream of an SQL file, which leaves everything but the query to the defaults. `place`
/// names the file, also for people.
pub(crate) fn query_stream(
    name: &str,
    query: String,
    place: &str,
    zone: &str,
    errors: &mut ConfigErrors,
) -> Option<Stream> {
    let problem = if RESERVED_STREAMS.contains(&name) {
        Some("this name is the server's own; expected another word")
    } else if RESERVED_EVENTS.contains(&name) {
        Some(
            "this name is an event of the protocol; expected another word, or an `event` in latido.toml",
        )
    } else if query.trim().is_empty() {
        Some("is empty; expected SQL")
    } else {
        None
    };
    if let Some(problem) = problem {
        errors.add(place, problem);
        return None;
    }
    Some(Stream {
        name: name.to_owned(),
        query,
        verification: None,
        history_query: None,
        authorize_query: None,
        zone_rule: ZoneRule::Fixed(zone.to_owned()),
        event: name.to_owned(),
        key_fields: Vec::new(),
        params: Vec::new(),
        interval: None,
        tables: Vec::new(),
        key_types: OnceLock::new(),
        inference: Inference {
            keys: true,
            tables: true,
            file: Some(place.to_owned()),
            gap: None,
        },
        revision: 0,
    })
}

fn parse(
    text: &str,
    path: &Path,
    default_zone: &str,
    errors: &mut ConfigErrors,
) -> Option<StreamFile> {
    let mut top = Fields::new(parse_toml(text, path, errors)?);
    let admin_roles = top.take("admin_roles");
    let builtin_streams = top.take("builtin_streams");
    let tables: BTreeMap<String, toml::Value> = top.take("streams").unwrap_or_default();
    let apps = top.take("apps").unwrap_or_default();
    for (field, problem) in top.finish() {
        let field = field.map(|field| format!(" {field}")).unwrap_or_default();
        errors.add(format!("{}{field}", path.display()), problem);
    }
    let (mut streams, mut sql_files) = (Vec::new(), Vec::new());
    for (name, table) in tables {
        let mut parser = StreamParser {
            path,
            dir: path.parent().unwrap_or(Path::new("")),
            stream_name: &name,
            sql_files: &mut sql_files,
            errors,
        };
        match table.try_into() {
            Ok(table) => streams.push(parser.stream(Fields::new(table), default_zone)),
            Err(error) => parser.add_error(None, error.message()),
        }
    }
    Some(StreamFile {
        admin_roles,
        builtin_streams,
        streams,
        sql_files,
        apps,
    })
}

/// Parses a text as TOML. A stream that it defines twice is named with both places.
fn parse_toml(text: &str, path: &Path, errors: &mut ConfigErrors) -> Option<toml::Table> {
    let error = match toml::from_str(text) {
        Ok(table) => return Some(table),
        Err(error) => error,
    };
    let path = path.display();
    match repeated_stream(text).filter(|_| error.message().contains("duplicate key")) {
        Some(RepeatedStream { name, lines: [first, second] }) => errors.add(
            format!("{path} [streams.{name}]"),
            format!(
                "is defined twice, in the lines {first} and {second}; expected one definition: remove \
                 one of them, or give it another name"
            ),
        ),
        None => errors.add(path.to_string(), error.to_string()),
    }
    None
}

impl StreamParser<'_> {
    /// Converts a table to a stream. If part of it is invalid, the result is a placeholder until
    /// the errors are reported.
    fn stream(&mut self, mut fields: Fields, default_zone: &str) -> Stream {
        let has_keys = fields.has("key_field") || fields.has("keys");
        let query: Option<String> = fields.require("query");
        let check: Option<String> = fields.take("check");
        let history: Option<String> = fields.take("history");
        let authorize: Option<String> = fields.take("authorize");
        let time_zone = fields.take("time_zone");
        let event: Option<String> = fields.take("event");
        let (key_field, keys) = (fields.take("key_field"), fields.take("keys"));
        let interval_ms = fields.take("interval_ms");
        // In the order of the file, which is that of the query's parameters.
        let params: toml::Table = fields.take("params").unwrap_or_default();
        // Without the list its tables are left to the query. An empty one watches no table.
        let has_tables = fields.has("tables");
        let tables: Vec<toml::Table> = fields.take("tables").unwrap_or_default();
        for (field, problem) in fields.finish() {
            self.add_error(field, &problem);
        }
        self.check_names(event.as_deref());
        let keys = self.parse_keys(key_field, keys, has_keys);
        let inference = Inference {
            keys: keys.is_none(),
            tables: !has_tables,
            ..Inference::default()
        };
        let tables = self.parse_tables(tables, keys.as_deref());
        let key_fields = keys.unwrap_or_default();
        let params = StreamParams::new(self).parse(params, &key_fields);
        Stream {
            name: self.stream_name.to_owned(),
            query: query.map_or_else(String::new, |sql| self.read_sql("query", &sql)),
            verification: check.map(|sql| VerificationQuery::new(self.read_sql("check", &sql))),
            history_query: history.map(|sql| self.read_sql("history", &sql)),
            authorize_query: authorize.map(|sql| self.read_sql("authorize", &sql).into()),
            zone_rule: self.parse_zone(time_zone, default_zone),
            event: event.unwrap_or_else(|| self.stream_name.to_owned()),
            key_fields,
            params,
            interval: self.parse_interval(interval_ms),
            tables,
            key_types: OnceLock::new(),
            inference,
            revision: 0,
        }
    }

    fn check_names(&mut self, event: Option<&str>) {
        if !is_name(self.stream_name) {
            self.add_error(None, &format!("a bad name for a stream; {EXPECTED_NAME}"));
        }
        if RESERVED_STREAMS.contains(&self.stream_name) {
            self.add_error(None, "this name is the server's own; expected another word");
        }
        if event.is_some_and(|event| !is_name(event)) {
            self.add_error(Some("event"), EXPECTED_NAME);
        }
        let event = event.unwrap_or(self.stream_name);
        if RESERVED_EVENTS.contains(&event) {
            self.add_error(
                Some("event"),
                &format!("{event:?} is the protocol's own; expected another word"),
            );
        }
    }

    /// Returns the names of the key parts, or `None` if they are left to the query. `key_field` is
    /// the short form of one. With `are_given`, a value of another type was reported already.
    fn parse_keys(
        &mut self,
        field: Option<String>,
        keys: Option<Vec<String>>,
        are_given: bool,
    ) -> Option<Vec<String>> {
        let is_short = field.is_some();
        let fields = match (field, keys) {
            (Some(field), None) => vec![field],
            (None, Some(keys)) => keys,
            (None, None) if are_given => return Some(Vec::new()),
            (None, None) => return None,
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
        Some(fields)
    }

    fn parse_interval(&mut self, milliseconds: Option<i64>) -> Option<Duration> {
        let valid = u64::try_from(milliseconds?).ok();
        let valid = valid.filter(|milliseconds| *milliseconds <= MAX_INTERVAL_MS);
        if valid.is_none() {
            self.add_error(
                Some("interval_ms"),
                &format!("expected 0 to {MAX_INTERVAL_MS} milliseconds"),
            );
        }
        valid.map(Duration::from_millis)
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
