//! Which apps are switched on, and their settings.

mod gateway;
mod messaging;
mod modules;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::apps::{self, NAMES, Setting, workspace};
use crate::auth::{Secret, VerifierConfig};
use crate::config::reader::Reader;
use crate::config::{Purpose, value, variable as v};
use crate::stream::Stream;

/// An app that is to be served.
#[derive(Debug)]
pub struct WantedApp {
    /// A listener of its own; 0: at any port that is free. None: the server's main one.
    pub port: Option<u16>,
    /// Its settings.
    pub setting: Setting,
}

/// `[apps.NAME]` of a `latido.toml`: it switches the app on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppTable {
    port: Option<u16>,
}

/// Those of `LATIDO_APPS` and those of the file, in the order of [`NAMES`]: all names, and where a server is to be started, the apps.
pub(super) fn apps(
    r: &mut Reader<'_>,
    purpose: Purpose,
    file: &BTreeMap<String, AppTable>,
    streams: &mut Vec<Stream>,
    verifier: &VerifierConfig,
    time_zone: &str,
) -> (Vec<&'static str>, Vec<WantedApp>) {
    let listed = r.text(&v::LATIDO_APPS).map(value::list).unwrap_or_default();
    let expected = format!("expected some of {}", NAMES.join(", "));
    for (place, name) in listed
        .iter()
        .map(|name| (v::LATIDO_APPS.name, name))
        .chain(file.keys().map(|name| (v::LATIDO_CONFIG.name, name)))
    {
        if !NAMES.contains(&name.as_str()) {
            r.mistakes
                .add(place, format!("there is no app {name:?}; {expected}"));
        }
    }
    let wanted =
        |name: &&str| file.contains_key(*name) || listed.iter().any(|listed| listed == name);
    let names: Vec<_> = NAMES.into_iter().filter(wanted).collect();
    add_streams(streams, &names, time_zone);
    if !matches!(purpose, Purpose::Serve | Purpose::Demo) {
        return (names, Vec::new());
    }
    let with_settings = names.iter().filter_map(|name| {
        let port = file
            .get(*name)
            .and_then(|table| table.port)
            .or_else(|| own_port(r, name));
        setting(r, name, verifier, time_zone).map(|setting| WantedApp { port, setting })
    });
    let apps = with_settings.collect();
    (names, apps)
}

/// Where an app listens unless the file says otherwise.
fn own_port(r: &mut Reader<'_>, name: &str) -> Option<u16> {
    (name == "gateway").then(|| gateway::port(r))
}

/// Reads the settings of an app. Each has its line here.
fn setting(
    r: &mut Reader<'_>,
    name: &str,
    verifier: &VerifierConfig,
    time_zone: &str,
) -> Option<Setting> {
    match name {
        workspace::NAME => Some(Setting::Workspace(workspace_config(r))),
        "gateway" => Some(gateway::config(r)),
        apps::modules::NAME => Some(Setting::Modules(Box::new(modules::config(r, time_zone)))),
        apps::messaging::NAME => Some(Setting::Messaging(Box::new(messaging::config(r, verifier)))),
        _ => {
            r.mistakes
                .add(name, "this app is not part of this build yet");
            None
        }
    }
}

fn workspace_config(r: &mut Reader<'_>) -> workspace::Config {
    let list = r
        .secret(&v::WORKSPACE_API_KEY)
        .unwrap_or_else(|| Secret::new(""));
    let keys = r
        .check(
            v::WORKSPACE_API_KEY.name,
            workspace::Config::parse_keys(&list),
        )
        .unwrap_or_default();
    workspace::Config {
        keys,
        trusts_client_ids: r.boolean(&v::WORKSPACE_TRUST_CLIENT_IDS, false),
    }
}

/// The streams that apps bring, whatever the purpose: their triggers are installed like those of others. The file's own come before.
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
    use crate::config::{Purpose, Settings, Sources};

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let fixed = [
            ("DATABASE_URL", "postgresql://u@h/d"),
            ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ];
        let all: Vec<_> = fixed.iter().chain(variables).copied().collect();
        Settings::read(&Sources::of(&all), Purpose::Serve).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn an_app_without_its_key_does_not_start() {
        assert!(settings(&[]).unwrap().apps.is_empty());
        let missing = settings(&[("LATIDO_APPS", "workspace")]).unwrap_err();
        assert!(
            missing.contains("WORKSPACE_API_KEY: expected a key"),
            "{missing}"
        );
        let weak = settings(&[
            ("LATIDO_APPS", "workspace"),
            ("WORKSPACE_API_KEY", "default-api-key"),
        ])
        .unwrap_err();
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
    fn a_file_may_give_an_app_a_port() {
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
        let mistakes = settings(&[("LATIDO_CONFIG", path)]).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert!(mistakes.contains("ports"), "{mistakes}");
    }

    #[test]
    fn an_app_that_is_not_there_is_told_with_those_that_are() {
        let mistakes = settings(&[("LATIDO_APPS", "workspaces")]).unwrap_err();
        let expected = r#"LATIDO_APPS: there is no app "workspaces"; expected some of workspace, gateway, messaging, modules"#;
        assert!(mistakes.contains(expected), "{mistakes}");
    }
}
