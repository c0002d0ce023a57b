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

#[cfg(all(test, feature = "apps"))]
mod tests {
    use crate::config::{ConfigSources, Purpose, Settings};

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let fixed = [
            ("DATABASE_URL", "postgresql://u@h/d"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let all: Vec<_> = fixed.iter().chain(variables).copied().collect();
        Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn app_is_off_unless_it_is_named() {
        assert!(settings(&[]).unwrap().apps.is_empty());
        let missing = settings(&[("LATIDO_APPS", "workspace")]).unwrap_err();
        assert!(
            missing.contains("WORKSPACE_API_KEY: expected a key"),
            "{missing}"
        );
        let apps = settings(&[
            ("LATIDO_APPS", " workspace "),
            ("WORKSPACE_API_KEY", "0123456789abcdef"),
        ])
        .unwrap()
        .apps;
        assert_eq!(
            (apps.len(), apps[0].port, apps[0].app.name()),
            (1, None, "workspace")
        );
    }

    #[test]
    fn file_can_give_an_app_a_port() {
        let file = std::env::temp_dir().join(format!("latido-apps-{}.toml", std::process::id()));
        std::fs::write(&file, "[apps.workspace]\nport = 4000\n").unwrap();
        let path = file.to_str().unwrap();
        let apps = settings(&[
            ("LATIDO_CONFIG", path),
            ("WORKSPACE_API_KEY", "0123456789abcdef"),
        ])
        .unwrap()
        .apps;
        assert_eq!((apps.len(), apps[0].port), (1, Some(4000)));
        std::fs::write(&file, "[apps.workspaces]\n[apps.workspace]\nports = 4000\n").unwrap();
        let errors = settings(&[("LATIDO_CONFIG", path)]).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert!(errors.contains("ports"), "{errors}");
    }

    #[test]
    fn gateway_has_a_port_of_its_own() {
        let given = [
            ("LATIDO_APPS", "gateway"),
            ("GATEWAY_API_URL", "http://api:8000"),
            ("GATEWAY_API_KEY", "k"),
        ];
        assert_eq!(settings(&given).unwrap().apps[0].port, Some(4000));
    }

    #[test]
    fn app_brings_its_stream() {
        let given = [("LATIDO_APPS", "modules"), ("MODULES_API_KEY", "k")];
        let streams = settings(&given).unwrap().streams;
        assert!(streams.iter().any(|stream| stream.name == "modules_stats"));
    }

    #[test]
    fn unknown_app_is_reported_with_the_known_ones() {
        let errors = settings(&[("LATIDO_APPS", "workspaces")]).unwrap_err();
        let expected = r#"LATIDO_APPS: there is no app "workspaces"; expected some of workspace, gateway, messaging, modules"#;
        assert!(errors.contains(expected), "{errors}");
    }
}
