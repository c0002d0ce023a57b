//! The enabled apps and their settings.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::apps::LATIDO_APPS;
use crate::config::variables::LATIDO_CONFIG;
use latido_app_kit::{App, AppList, ServerSettings, Starter};
use latido_settings::{SettingsReader, list};
use latido_stream::Stream;

/// An app that the server will start.
pub struct EnabledApp {
    /// The app.
    pub app: &'static dyn App,
    /// The port of a separate listener, 0 for any free one. `None` uses the server's main listener.
    pub port: Option<u16>,
    /// Starts the app with the settings that were read for it.
    pub starter: Starter,
}

impl fmt::Debug for EnabledApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnabledApp")
            .field("app", &self.app)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// The tables `[apps.NAME]` of a `latido.toml`. Each one enables its app.
pub(super) type AppTables = BTreeMap<String, AppTable>;

/// The table of one app.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    port: Option<u16>,
}

/// Returns the apps enabled in `LATIDO_APPS` or in the file, in the order of the list. A name that
/// is not in the list is recorded as an error.
pub(super) fn enabled_apps(
    r: &mut SettingsReader<'_>,
    apps: &AppList,
    tables: &AppTables,
) -> Vec<&'static dyn App> {
    let listed = r.text(&LATIDO_APPS).map(list).unwrap_or_default();
    let listed_names = listed.iter().map(|name| (LATIDO_APPS.name, name));
    let table_names = tables.keys().map(|name| (LATIDO_CONFIG.name, name));
    for (source, name) in listed_names.chain(table_names) {
        r.ok_or_record(source, apps.check(name));
    }
    let is_enabled = |app: &&dyn App| {
        tables.contains_key(app.name()) || listed.iter().any(|name| name == app.name())
    };
    apps.iter().filter(is_enabled).collect()
}

/// Adds the streams that apps bring. This does not depend on the purpose, because their triggers
/// are installed like others. A stream of the file takes precedence.
pub(super) fn add_streams(streams: &mut Vec<Stream>, apps: &[&'static dyn App], zone: &str) {
    for stream in apps.iter().flat_map(|app| app.streams(zone)) {
        if streams.iter().all(|known| known.name != stream.name) {
            streams.push(stream);
        }
    }
}

/// Records an error if the connections to the database are to sleep, although an app uses it.
pub(super) fn refuse_sleep(r: &mut SettingsReader<'_>, apps: &[&'static dyn App]) {
    for app in apps.iter().filter(|app| app.uses_database()) {
        latido_postgres::refuse_sleep(r, app.name());
    }
}

/// Reads the settings of the enabled apps.
pub(super) fn configure_apps(
    r: &mut SettingsReader<'_>,
    apps: &[&'static dyn App],
    tables: &AppTables,
    server: &ServerSettings<'_>,
) -> Vec<EnabledApp> {
    let configure = |app: &&'static dyn App| {
        let table = tables.get(app.name());
        let port = table.and_then(|table| table.port);
        EnabledApp {
            app: *app,
            port: port.or_else(|| app.default_port(r)),
            starter: app.configure(r, server),
        }
    };
    apps.iter().map(configure).collect()
}
