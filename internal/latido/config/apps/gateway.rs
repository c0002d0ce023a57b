//! Settings of the `gateway` app.

use std::time::Duration;

use crate::apps::AppSettings;
use crate::config::settings_reader::SettingsReader;
use crate::config::{parse, variables as v};
use latido_app_gateway::Config;
use latido_auth::ApiKey;

/// The default port. The older gateway listens there, and its clients expect it.
pub(super) const DEFAULT_PORT: u16 = 4000;

const API_URL: &str =
    "the address of the Django API such as http://localhost:8000, without user and password";

pub(super) fn config(r: &mut SettingsReader<'_>) -> AppSettings {
    let defaults = Config::default();
    let trusts_clients = r.boolean(&v::GATEWAY_TRUST_CLIENTS, false);
    let api_url = r.parse(&v::GATEWAY_API_URL, API_URL, api_url);
    if api_url.is_none() && !trusts_clients && r.text(&v::GATEWAY_API_URL).is_none() {
        r.errors.add(
            v::GATEWAY_API_URL.name,
            format!("missing; expected {API_URL}"),
        );
    }
    let api_key = r
        .secret(&v::GATEWAY_API_KEY)
        .and_then(|key| r.ok_or_record(v::GATEWAY_API_KEY.name, ApiKey::parse(&key)));
    let networks = "addresses or networks such as 10.0.0.0/8,192.168.1.7, separated by commas";
    let trusted = r.parse(&v::GATEWAY_TRUSTED_CIDRS, networks, |text| {
        text.parse().ok()
    });
    if r.text(&v::GATEWAY_API_KEY).is_none() && r.text(&v::GATEWAY_TRUSTED_CIDRS).is_none() {
        let expected = "missing; expected the key that publishers send, or GATEWAY_TRUSTED_CIDRS: where they need none";
        r.errors.add(v::GATEWAY_API_KEY.name, expected);
    }
    let minutes = r.number(&v::GATEWAY_INACTIVE_MINUTES, 0..=1_000_000, 60);
    AppSettings::Gateway(Box::new(Config {
        api_url,
        api_uses_post: r
            .parse(&v::GATEWAY_API_METHOD, "GET or POST", is_post)
            .unwrap_or(false),
        api_timeout: r.seconds(&v::GATEWAY_API_TIMEOUT_SECONDS, 1..=60, 10),
        api_cache_ttl: r.seconds(&v::GATEWAY_API_CACHE_SECONDS, 1..=86_400, 60),
        admin_ids: r
            .text(&v::GATEWAY_ADMIN_IDS)
            .map(parse::list)
            .unwrap_or_default(),
        api_key,
        trusted_networks: trusted.unwrap_or_default(),
        trusts_clients,
        inactivity_limit: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
        ..defaults
    }))
}

/// Reads the port of the app's separate listener.
pub(super) fn port(r: &mut SettingsReader<'_>) -> u16 {
    u16::try_from(r.number(&v::GATEWAY_PORT, 0..=65_535, DEFAULT_PORT.into()))
        .unwrap_or(DEFAULT_PORT)
}

fn is_post(text: &str) -> Option<bool> {
    match text.to_ascii_uppercase().as_str() {
        "GET" => Some(false),
        "POST" => Some(true),
        _ => None,
    }
}

fn api_url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_good = matches!(scheme, "http" | "https")
        && !host.is_empty()
        && !host.contains('@')
        && !rest.contains(['?', '#', ' ']);
    is_good.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::apps::AppSettings;
    use crate::config::{ConfigSources, Purpose, Settings};

    const FIXED: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("LATIDO_APPS", "gateway"),
    ];

    fn read(more: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(
            &ConfigSources::from_variables(&[&FIXED, more].concat()),
            Purpose::Serve,
        )
        .map_err(|errors| errors.to_string())
    }

    #[test]
    fn missing_and_invalid_settings_are_reported() {
        let errors = read(&[]).unwrap_err();
        assert!(
            errors.contains("GATEWAY_API_URL: missing")
                && errors.contains("GATEWAY_API_KEY: missing"),
            "{errors}"
        );
        for (name, value) in [
            ("GATEWAY_API_URL", "localhost:8000"),
            ("GATEWAY_API_URL", "http://user:secret@host"),
            ("GATEWAY_API_METHOD", "PUT"),
            ("GATEWAY_TRUSTED_CIDRS", "10.0.0.0/99"),
            ("GATEWAY_TRUST_CLIENTS", "perhaps"),
        ] {
            let errors = read(&[(name, value)]).unwrap_err();
            assert!(errors.contains(name), "{errors}");
        }
    }

    #[test]
    fn default_port_is_the_one_its_clients_expect() {
        let given = [
            ("GATEWAY_API_URL", "http://api:8000"),
            ("GATEWAY_API_KEY", "k"),
            ("GATEWAY_ADMIN_IDS", "1, 2"),
        ];
        let settings = read(&given).unwrap();
        let [app] = &*settings.apps else {
            panic!("{:?}", settings.apps)
        };
        assert_eq!(app.port, Some(super::DEFAULT_PORT));
        let AppSettings::Gateway(config) = &app.setting else {
            panic!("{app:?}")
        };
        assert_eq!(
            (config.admin_ids.as_slice(), config.trusts_clients),
            (&["1".to_owned(), "2".to_owned()][..], false)
        );
        let settings =
            read(&[("GATEWAY_TRUST_CLIENTS", "true"), ("GATEWAY_API_KEY", "k")]).unwrap();
        let AppSettings::Gateway(config) = &settings.apps[0].setting else {
            panic!("{settings:?}")
        };
        assert!(config.trusts_clients && config.api_url.is_none());
    }
}
