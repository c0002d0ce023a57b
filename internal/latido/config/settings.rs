//! All settings: the configuration of each part, as the part itself reads it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use latido_app_kit::{App, AppList, ServerSettings};
use latido_auth::{ApiKey, PolicyConfig, VerifierConfig};
use latido_engine as engine;
use latido_http::{self as http, ListenConfig};
use latido_postgres as postgres;
use latido_session::SessionLimits;
use latido_settings::{ConfigErrors, ConfigSources, SettingsReader};
use latido_shard as shard;
use latido_stream::{Stream, ZoneRule};
use latido_telemetry as telemetry;

use crate::apps::APPS;
use crate::config::Purpose;
use crate::config::app_settings::{self, AppTables, EnabledApp};
use crate::config::builtin::{ESTADISTICAS, estadisticas};
use crate::config::stream_file::{self, StreamFile};
use crate::config::stream_folder::{DEFAULT_FOLDER, StreamFolder};
use crate::config::variables::{LATIDO_CONFIG, SHUTDOWN_SECONDS, STREAMS_DIR, TIMEZONE};

/// All settings, grouped by the part that they configure.
#[derive(Debug)]
pub struct Settings {
    /// The connection to the database. Its URL is set for every purpose that requires one.
    pub postgres: postgres::Config,
    /// The keys and rules for tokens. They may lack keys only for purposes that need none.
    pub verifier: VerifierConfig,
    /// The administrator roles and the lifetime of cached permissions.
    pub policy: PolicyConfig,
    /// The key that the HTTP hook requires, or `None` if it requires none.
    pub notify_key: Option<ApiKey>,
    /// The address of the main listener.
    pub listen: ListenConfig,
    /// The limits of the HTTP side, its TLS files, proxies and origins.
    pub http: http::Config,
    /// The limits of one WebSocket.
    pub limits: SessionLimits,
    /// The number of shard threads.
    pub shard: shard::Config,
    /// The timing of database reads.
    pub engine: engine::Config,
    /// The time that clients get to disconnect at shutdown.
    pub shutdown_timeout: Duration,
    /// The path of `latido.toml`, if one is named.
    pub config_path: Option<PathBuf>,
    /// The streams, with distinct names; at least one.
    pub streams: Vec<Stream>,
    /// True if the built-in stream is off where the database lacks its tables. False if that is an
    /// error.
    pub builtin_is_optional: bool,
    /// The enabled apps. Empty unless the command starts a server.
    pub apps: Vec<EnabledApp>,
    /// The enabled apps, also for commands that start no server.
    pub enabled_apps: Vec<&'static dyn App>,
    /// The tables of apps in `latido.toml`, as a text to compare.
    pub(super) app_tables: String,
    /// All apps that could be enabled.
    pub app_list: AppList,
    /// The IANA zone in which the current day begins, for streams without a zone of their own.
    pub time_zone: String,
    /// The log filter of `RUST_LOG`.
    pub log_filter: Option<String>,
    /// Messages about settings that work but deserve attention. They are logged once.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Returns all errors together.
    pub fn read(sources: &ConfigSources, purpose: Purpose) -> Result<Self, ConfigErrors> {
        Self::read_for(&APPS, sources, purpose)
    }

    /// Reads and checks all settings for a server with other apps than those of this build.
    ///
    /// # Errors
    /// Returns all errors together.
    pub fn read_for(
        app_list: &AppList,
        sources: &ConfigSources,
        purpose: Purpose,
    ) -> Result<Self, ConfigErrors> {
        Self::read_with_apps(app_list, sources, purpose, None)
    }

    /// Reads and checks all settings for a server that runs. The streams of its apps stay, whichever
    /// apps the settings enable, because apps start and end with the server.
    ///
    /// # Errors
    /// Returns all errors together.
    pub(crate) fn read_again(
        app_list: &AppList,
        sources: &ConfigSources,
        running: &[&'static dyn App],
    ) -> Result<Self, ConfigErrors> {
        Self::read_with_apps(app_list, sources, Purpose::Serve, Some(running))
    }

    fn read_with_apps(
        app_list: &AppList,
        sources: &ConfigSources,
        purpose: Purpose,
        running: Option<&[&'static dyn App]>,
    ) -> Result<Self, ConfigErrors> {
        let mut reader = SettingsReader::new(sources);
        let r = &mut reader;
        let postgres = postgres::Config::from_settings(r);
        if purpose.requires_database() {
            postgres::require_url(r);
        }
        let time_zone = r
            .time_zone(&TIMEZONE, "America/Guayaquil")
            .unwrap_or_else(|| purpose.default_time_zone().to_owned());
        let configured = ConfiguredStreams::read(r, purpose, &time_zone);
        let mut streams = configured.streams;
        let verifier = VerifierConfig {
            key_fields: key_fields(&streams),
            keeps_claims: streams.iter().any(Stream::takes_claims),
            ..VerifierConfig::from_settings(r, purpose.required_keys())
        };
        let policy = PolicyConfig::from_settings(r, configured.admin_roles);
        let notify_key = http::read_notify_key(r);
        let listen = ListenConfig::from_settings(r, purpose.default_host());
        let shutdown_timeout = r.seconds(&SHUTDOWN_SECONDS, 1..=3_600);
        let limits = SessionLimits::from_settings(r);
        let http = http::Config::from_settings(r, &limits, shutdown_timeout);
        let shard = shard::Config::from_settings(r);
        let engine = engine::Config::from_settings(r);
        let enabled_apps = app_settings::enabled_apps(r, app_list, &configured.apps);
        let running = running.unwrap_or(&enabled_apps);
        app_settings::add_streams(&mut streams, running, &time_zone);
        // A server with nothing else to serve needs the tables of the built-in stream.
        let serves_others = streams.len() > 1 || !running.is_empty();
        let apps = if purpose.starts_server() {
            app_settings::refuse_sleep(r, &enabled_apps);
            let server = ServerSettings {
                verifier: &verifier,
                time_zone: &time_zone,
            };
            app_settings::configure_apps(r, &enabled_apps, &configured.apps, &server)
        } else {
            Vec::new()
        };
        add_stream_warnings(r, purpose, &streams);
        let log_filter = telemetry::read_log_filter(r);
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok(Self {
            postgres,
            verifier,
            policy,
            notify_key,
            listen,
            http,
            limits,
            shard,
            engine,
            shutdown_timeout,
            config_path: configured.path,
            streams,
            builtin_is_optional: serves_others && !configured.demands_builtin,
            apps,
            enabled_apps,
            app_tables: format!("{:?}", configured.apps),
            app_list: *app_list,
            time_zone,
            log_filter,
            warnings: reader.warnings,
        })
    }
}

fn key_fields(streams: &[Stream]) -> Vec<String> {
    streams
        .iter()
        .flat_map(|stream| stream.key_fields.iter().cloned())
        .collect()
}

/// What `latido.toml` and the folder with SQL files define.
struct ConfiguredStreams {
    path: Option<PathBuf>,
    /// The streams of the file and of the folder, and the built-in ones that they do not replace.
    streams: Vec<Stream>,
    admin_roles: Option<Vec<String>>,
    /// True if the file demands the tables of the built-in streams.
    demands_builtin: bool,
    apps: AppTables,
}

impl ConfiguredStreams {
    fn read(r: &mut SettingsReader<'_>, purpose: Purpose, zone: &str) -> Self {
        let path = r.text(&LATIDO_CONFIG).map(PathBuf::from);
        let file = path
            .as_deref()
            .and_then(|path| stream_file::read(path, zone, &mut r.errors));
        let folder = folder_streams(r, file.as_ref(), purpose, zone);
        let StreamFile {
            admin_roles,
            builtin_streams,
            mut streams,
            apps,
            ..
        } = file.unwrap_or_default();
        streams.extend(folder);
        let is_replaced = streams.iter().any(|stream| stream.name == ESTADISTICAS);
        if builtin_streams != Some(false) && !is_replaced {
            streams.insert(0, estadisticas(zone));
        }
        if streams.is_empty() && purpose.requires_streams() {
            r.errors.add(
                LATIDO_CONFIG.name,
                "no stream is left; expected streams/NAME.sql, [streams.NAME], or builtin_streams = true",
            );
        }
        Self {
            path,
            streams,
            admin_roles,
            demands_builtin: builtin_streams == Some(true),
            apps,
        }
    }
}

/// Returns the streams of the folder with SQL files. A demonstration has a database of its own, so
/// it takes only a folder that is named.
fn folder_streams(
    r: &mut SettingsReader<'_>,
    file: Option<&StreamFile>,
    purpose: Purpose,
    zone: &str,
) -> Vec<Stream> {
    let named = r.text(&STREAMS_DIR);
    if named.is_none() && purpose == Purpose::Demo {
        return Vec::new();
    }
    let beside = r
        .text(&LATIDO_CONFIG)
        .and_then(|path| Path::new(path).parent());
    let default = beside.unwrap_or(Path::new("")).join(DEFAULT_FOLDER);
    let absolute = named.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
    let folder = StreamFolder {
        path: named.map_or(&default, Path::new),
        shown: absolute.as_deref().unwrap_or(Path::new(DEFAULT_FOLDER)),
        is_required: named.is_some(),
        zone,
        known: file.map_or(&[], |file| &file.streams),
        used_files: file.map_or(&[], |file| &file.sql_files),
    };
    folder.read(&mut r.errors)
}

fn add_stream_warnings(r: &mut SettingsReader<'_>, purpose: Purpose, streams: &[Stream]) {
    // A stream with a fixed zone does not need the default. A stream that queries its zone falls
    // back to the default.
    let needs_zone = |stream: &Stream| match &stream.zone_rule {
        ZoneRule::Fixed(zone) => zone == "UTC",
        ZoneRule::Query { .. } => true,
    };
    if purpose != Purpose::Demo && r.text(&TIMEZONE).is_none() && streams.iter().any(needs_zone) {
        r.warnings
            .push("TIMEZONE is not set: «today» begins at midnight UTC; expected a zone such as America/Guayaquil".to_owned());
    }
    let is_unwatched = |stream: &&Stream| stream.tables.is_empty() && !stream.inference.tables;
    for stream in streams.iter().filter(is_unwatched) {
        let name = &stream.name;
        r.warnings.push(format!(
            "stream {name} names no tables: its changes are seen by the hook and the sweep alone"
        ));
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
