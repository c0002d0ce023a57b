//! The enabled apps and their settings.

mod gateway;
mod messaging;
mod modules;
mod workspace;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::apps::{self, AppSettings, NAMES};
use crate::config::Purpose;
use crate::config::variables::{LATIDO_APPS, LATIDO_CONFIG};
use latido_auth::VerifierConfig;
use latido_settings::{SettingsReader, Variable, list};
use latido_stream::Stream;

/// The variables of each app, in the order of the help.
pub(super) const TABLES: [&[Variable]; 4] = [
    gateway::VARIABLES,
    messaging::VARIABLES,
    workspace::VARIABLES,
    modules::VARIABLES,
];

/// An app that the server will start.
#[derive(Debug)]
pub struct EnabledApp {
    /// The port of a separate listener, 0 for any free one. `None` uses the server's main listener.
    pub port: Option<u16>,
    /// The app's own settings.
    pub setting: AppSettings,
}

/// The table `[apps.NAME]` of a `latido.toml`. Its presence enables the app.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    port: Option<u16>,
}

/// Returns the apps enabled in `LATIDO_APPS` or in the file, in the order of [`NAMES`]: all names,
/// and the settings if the purpose is to start a server.
pub(super) fn read_apps(
    r: &mut SettingsReader<'_>,
    purpose: Purpose,
    file: &BTreeMap<String, AppTable>,
    streams: &mut Vec<Stream>,
    verifier: &VerifierConfig,
    time_zone: &str,
) -> (Vec<&'static str>, Vec<EnabledApp>) {
    let listed = r.text(&LATIDO_APPS).map(list).unwrap_or_default();
    let expected = format!("expected some of {}", NAMES.join(", "));
    for (source, name) in listed
        .iter()
        .map(|name| (LATIDO_APPS.name, name))
        .chain(file.keys().map(|name| (LATIDO_CONFIG.name, name)))
    {
        if !NAMES.contains(&name.as_str()) {
            r.errors
                .add(source, format!("there is no app {name:?}; {expected}"));
        }
    }
    let is_enabled =
        |name: &&str| file.contains_key(*name) || listed.iter().any(|listed| listed == name);
    let names: Vec<_> = NAMES.into_iter().filter(is_enabled).collect();
    add_streams(streams, &names, time_zone);
    if !purpose.starts_server() {
        return (names, Vec::new());
    }
    let with_settings = names.iter().filter_map(|name| {
        let port = file
            .get(*name)
            .and_then(|table| table.port)
            .or_else(|| default_port(r, name));
        read_setting(r, name, verifier, time_zone).map(|setting| EnabledApp { port, setting })
    });
    let apps = with_settings.collect();
    (names, apps)
}

/// Returns the default port of an app's separate listener, if it has one.
fn default_port(r: &mut SettingsReader<'_>, name: &str) -> Option<u16> {
    (name == "gateway").then(|| gateway::port(r))
}

/// Reads the settings of one app. Every app has its line here.
fn read_setting(
    r: &mut SettingsReader<'_>,
    name: &str,
    verifier: &VerifierConfig,
    time_zone: &str,
) -> Option<AppSettings> {
    match name {
        apps::workspace::NAME => Some(AppSettings::Workspace(workspace::config(r))),
        "gateway" => Some(gateway::config(r)),
        apps::modules::NAME => Some(AppSettings::Modules(Box::new(modules::config(
            r, time_zone,
        )))),
        apps::messaging::NAME => Some(AppSettings::Messaging(Box::new(messaging::config(
            r, verifier,
        )))),
        _ => {
            r.errors.add(name, "this app is not part of this build yet");
            None
        }
    }
}

/// Adds the streams that apps bring. This does not depend on the purpose, because their triggers
/// are installed like others. A stream of the file takes precedence.
fn add_streams(streams: &mut Vec<Stream>, names: &[&'static str], zone: &str) {
    let is_known = streams
        .iter()
        .any(|known| known.name == apps::modules::STATS_STREAM);
    if names.contains(&apps::modules::NAME) && !is_known {
        streams.push(apps::modules::stats_stream(zone));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ConfigErrors, ConfigSources, Purpose, Settings};

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
        let fixed = [
            ("DATABASE_URL", "postgresql://u@h/d"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let all: Vec<_> = fixed.iter().chain(variables).copied().collect();
        Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve)
    }

    #[test]
    fn app_without_its_key_does_not_start() {
        assert!(settings(&[]).unwrap().apps.is_empty());
        let missing = settings(&[("LATIDO_APPS", "workspace")])
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("WORKSPACE_API_KEY: expected a key"),
            "{missing}"
        );
        let weak = settings(&[
            ("LATIDO_APPS", "workspace"),
            ("WORKSPACE_API_KEY", "default-api-key"),
        ])
        .unwrap_err()
        .to_string();
        assert!(
            weak.contains("WORKSPACE_API_KEY: a key is too short") && !weak.contains("default"),
            "{weak}"
        );
        let apps = settings(&[
            ("LATIDO_APPS", " workspace "),
            ("WORKSPACE_API_KEY", "0123456789abcdef"),
        ])
        .unwrap()
        .apps;
        assert_eq!(
            (apps.len(), apps[0].port, apps[0].setting.name()),
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
        let errors = settings(&[("LATIDO_CONFIG", path)])
            .unwrap_err()
            .to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(errors.contains("ports"), "{errors}");
    }

    #[test]
    fn unknown_app_is_reported_with_the_known_ones() {
        let errors = settings(&[("LATIDO_APPS", "workspaces")])
            .unwrap_err()
            .to_string();
        let expected = r#"LATIDO_APPS: there is no app "workspaces"; expected some of workspace, gateway, messaging, modules"#;
        assert!(errors.contains(expected), "{errors}");
    }
}
