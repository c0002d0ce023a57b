//! Which apps are switched on, and their settings.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::apps::{NAMES, Setting, messaging};
use crate::auth::VerifierConfig;
use crate::config::reader::Reader;
use crate::config::{Purpose, value, variable as v};

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
    verifier: &VerifierConfig,
) -> (Vec<&'static str>, Vec<WantedApp>) {
    let listed = r.text(&v::LATIDO_APPS).map(value::list).unwrap_or_default();
    let expected = format!("expected some of {}", NAMES.join(", "));
    for (place, name) in
        listed.iter().map(|name| (v::LATIDO_APPS.name, name)).chain(file.keys().map(|name| (v::LATIDO_CONFIG.name, name)))
    {
        if !NAMES.contains(&name.as_str()) {
            r.mistakes.add(place, format!("there is no app {name:?}; {expected}"));
        }
    }
    let wanted = |name: &&str| file.contains_key(*name) || listed.iter().any(|listed| listed == name);
    let names: Vec<_> = NAMES.into_iter().filter(wanted).collect();
    if !matches!(purpose, Purpose::Serve | Purpose::Demo) {
        return (names, Vec::new());
    }
    let with_settings = names.iter().filter_map(|name| {
        let port = file.get(*name).and_then(|table| table.port);
        setting(r, name, verifier).map(|setting| WantedApp { port, setting })
    });
    let apps = with_settings.collect();
    (names, apps)
}

/// Reads the settings of an app. Each has its line here.
fn setting(r: &mut Reader<'_>, name: &str, verifier: &VerifierConfig) -> Option<Setting> {
    match name {
        messaging::NAME => Some(Setting::Messaging(Box::new(super::messaging::config(r, verifier)))),
        _ => {
            r.mistakes.add(name, "this app is not part of this build yet");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Purpose, Settings, Sources};

    #[test]
    fn an_app_that_is_not_there_is_told_with_those_that_are() {
        let fixed = [("DATABASE_URL", "postgresql://u@h/d"), ("JWT_SECRET", "0123456789abcdef0123456789abcdef")];
        let sources = Sources::of(&[fixed[0], fixed[1], ("LATIDO_APPS", "workspaces")]);
        let mistakes = Settings::read(&sources, Purpose::Serve).unwrap_err().to_string();
        let expected = r#"LATIDO_APPS: there is no app "workspaces"; expected some of workspace, gateway, messaging, modules"#;
        assert!(mistakes.contains(expected), "{mistakes}");
    }
}
