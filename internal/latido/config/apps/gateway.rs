//! Settings of the `gateway` app.

use std::time::Duration;

use crate::apps::AppSettings;
use latido_app_gateway::Config;
use latido_auth::ApiKey;
use latido_settings::{SettingsReader, list, variables};

const EXPECTED_API_URL: &str =
    "the address of the Django API such as http://localhost:8000, without user and password";
const EXPECTED_NETWORKS: &str =
    "addresses or networks such as 10.0.0.0/8,192.168.1.7, separated by commas";
/// The default port. The older gateway listens there, and its clients expect it.
const DEFAULT_PORT: u16 = 4_000;

variables! {
    /// The variables of the app.
    pub(super) const VARIABLES;
    "App gateway" {
        plain GATEWAY_PORT "PORT" = u16(DEFAULT_PORT),
            "Its own port, where its clients look for it. With the value of PORT it shares the main listener, whose /dashboard is the operators'";
        plain GATEWAY_API_URL "URL" = none,
            "The Django API that identifies the owner of a token, asked at /api/v1/profile/. Needed";
        plain GATEWAY_API_METHOD "GET|POST" = shown("GET"),
            "HTTP method of that request; POST for older APIs";
        plain GATEWAY_API_TIMEOUT_SECONDS "SECONDS" = seconds(Duration::from_secs(10)),
            "Time limit of that request";
        plain GATEWAY_API_CACHE_SECONDS "SECONDS" = seconds(Duration::from_secs(60)),
            "Time for which a positive answer about a token is valid";
        plain GATEWAY_ADMIN_IDS "LIST" = none,
            "Ids of users who may be administrators, separated by commas; the API has no such role. Unset: nobody";
        secret GATEWAY_API_KEY "KEY" = none,
            "Key that publishers and readers of its dashboard must send (X-API-Key or Bearer), or sha256: and its hexadecimal hash. Needed, unless GATEWAY_TRUSTED_CIDRS is set";
        plain GATEWAY_TRUSTED_CIDRS "LIST" = none,
            "Networks that need no key, separated by commas, in addition to this machine. Unset: none";
        plain GATEWAY_TRUST_CLIENTS "BOOL" = bool(false),
            "Accepts what clients say about themselves without asking the API, as the old server did. Only for a migration behind a trusted network";
        plain GATEWAY_INACTIVE_MINUTES "MINUTES" = u64(60),
            "Time after which an inactive client is disconnected; 0: never";
    }
}

/// Reads the app's settings.
pub(super) fn config(r: &mut SettingsReader<'_>) -> AppSettings {
    let trusts_clients = r.boolean(&GATEWAY_TRUST_CLIENTS);
    let api_url = r.parse(&GATEWAY_API_URL, EXPECTED_API_URL, api_url);
    if !trusts_clients {
        r.require(&GATEWAY_API_URL, EXPECTED_API_URL);
    }
    let api_key = ApiKey::from_settings(r, &GATEWAY_API_KEY);
    let trusted = r.parse(&GATEWAY_TRUSTED_CIDRS, EXPECTED_NETWORKS, |text| {
        text.parse().ok()
    });
    if r.text(&GATEWAY_TRUSTED_CIDRS).is_none() {
        let expected =
            "the key that publishers send, or GATEWAY_TRUSTED_CIDRS: where they need none";
        r.require(&GATEWAY_API_KEY, expected);
    }
    let minutes = r.number(&GATEWAY_INACTIVE_MINUTES, 0..=1_000_000);
    AppSettings::Gateway(Box::new(Config {
        api_url,
        api_uses_post: r
            .parse(&GATEWAY_API_METHOD, "GET or POST", is_post)
            .unwrap_or(false),
        api_timeout: r.seconds(&GATEWAY_API_TIMEOUT_SECONDS, 1..=60),
        api_cache_ttl: r.seconds(&GATEWAY_API_CACHE_SECONDS, 1..=86_400),
        admin_ids: r.text(&GATEWAY_ADMIN_IDS).map(list).unwrap_or_default(),
        api_key,
        trusted_networks: trusted.unwrap_or_default(),
        trusts_clients,
        inactivity_limit: (minutes > 0).then(|| Duration::from_secs(minutes * 60)),
        ..Config::default()
    }))
}

/// Reads the port of the app's separate listener.
pub(super) fn port(r: &mut SettingsReader<'_>) -> u16 {
    r.number(&GATEWAY_PORT, 0..=u16::MAX)
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
    use crate::config::{ConfigErrors, ConfigSources, Purpose, Settings};

    const FIXED: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("LATIDO_APPS", "gateway"),
    ];

    fn read(more: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
        Settings::read(
            &ConfigSources::from_variables(&[&FIXED, more].concat()),
            Purpose::Serve,
        )
    }

    #[test]
    fn missing_and_invalid_settings_are_reported() {
        let errors = read(&[]).unwrap_err().to_string();
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
            let errors = read(&[(name, value)]).unwrap_err().to_string();
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
        assert_eq!(app.port, Some(super::GATEWAY_PORT.default));
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
