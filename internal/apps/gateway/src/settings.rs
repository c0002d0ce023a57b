//! The settings of the gateway app.

use std::time::Duration;

use latido_auth::ApiKey;
use latido_net::Networks;
use latido_settings::{SettingsReader, list, variables};

use crate::config;
use crate::config::Config;

/// The default port. The older gateway listens there, and its clients expect it.
const DEFAULT_PORT: u16 = 4000;
const EXPECTED_API_URL: &str =
    "the address of the Django API such as http://localhost:8000, without user and password";
const EXPECTED_NETWORKS: &str =
    "addresses or networks such as 10.0.0.0/8,192.168.1.7, separated by commas";
const EXPECTED_API_KEY: &str =
    "the key that publishers send, or GATEWAY_TRUSTED_CIDRS: the networks where they need none";

variables! {
    /// The variables of the gateway app.
    pub(super) const VARIABLES;
    "App gateway" {
        plain GATEWAY_PORT "PORT" = u16(DEFAULT_PORT),
            "Its own port, where its clients look for it. With the value of PORT it shares the main listener, whose /dashboard is the operators'";
        plain GATEWAY_API_URL "URL" = none,
            "The Django API that identifies the owner of a token, asked at /api/v1/profile/. Needed";
        plain GATEWAY_API_METHOD "GET|POST" = text("GET"),
            "HTTP method of that request; POST for older APIs";
        plain GATEWAY_API_TIMEOUT_SECONDS "SECONDS" = seconds(config::API_TIMEOUT),
            "Time limit of that request";
        plain GATEWAY_API_CACHE_SECONDS "SECONDS" = seconds(config::API_CACHE_TTL),
            "Time for which a positive answer about a token is valid";
        plain GATEWAY_ADMIN_IDS "LIST" = none,
            "Ids of users who may be administrators, separated by commas; the API has no such role. Unset: nobody";
        secret GATEWAY_API_KEY "KEY" = none,
            "Key that publishers and readers of its dashboard must send (X-API-Key or Bearer), or sha256: and its hexadecimal hash. Needed, unless GATEWAY_TRUSTED_CIDRS is set";
        plain GATEWAY_TRUSTED_CIDRS "LIST" = none,
            "Networks whose publishers and dashboard readers need no key, separated by commas; this machine too only if listed. Never list the address of a proxy. Unset: none";
        plain GATEWAY_TRUST_CLIENTS "BOOL" = bool(false),
            "Accepts what clients say about themselves without asking the API, as the old server did. Only for a migration behind a trusted network";
        plain GATEWAY_INACTIVE_MINUTES "MINUTES" = u64(config::INACTIVITY_MINUTES),
            "Time after which an inactive client is disconnected; 0: never";
    }
}

/// Reads the port of the app's separate listener.
pub(super) fn read_port(r: &mut SettingsReader<'_>) -> u16 {
    r.number(&GATEWAY_PORT, 0..=u16::MAX)
}

impl Config {
    /// Reads the settings. Missing and invalid ones are recorded as errors.
    pub(super) fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        let trusts_clients = r.boolean(&GATEWAY_TRUST_CLIENTS);
        let api_url = r.parse(&GATEWAY_API_URL, EXPECTED_API_URL, api_url);
        if !trusts_clients {
            r.require(&GATEWAY_API_URL, EXPECTED_API_URL);
        }
        let api_key = ApiKey::from_settings(r, &GATEWAY_API_KEY);
        let trusted = r.parse(&GATEWAY_TRUSTED_CIDRS, EXPECTED_NETWORKS, |text| {
            text.parse().ok()
        });
        if trusted.as_ref().is_some_and(Networks::has_everyone) {
            r.warnings.push(format!(
                "{}: has every address, so nobody needs a key; expected the networks of publishers alone",
                GATEWAY_TRUSTED_CIDRS.name
            ));
        }
        if r.text(&GATEWAY_TRUSTED_CIDRS).is_none() {
            r.require(&GATEWAY_API_KEY, EXPECTED_API_KEY);
        }
        let minutes = r.number(&GATEWAY_INACTIVE_MINUTES, 0..=1_000_000);
        Self {
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
            ..Self::default()
        }
    }
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
    let is_valid = matches!(scheme, "http" | "https")
        && !host.is_empty()
        && !host.contains('@')
        && !rest.contains(['?', '#', ' ']);
    is_valid.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let sources = ConfigSources::from_variables(variables);
        let r = &mut SettingsReader::new(&sources);
        let config = Config::from_settings(r);
        if r.errors.is_empty() {
            Ok(config)
        } else {
            Err(r.errors.to_string())
        }
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
    fn network_of_everyone_is_warned_of() {
        for (networks, count) in [("10.0.0.0/8", 0), ("10.0.0.0/8,0.0.0.0/0", 1), ("::/0", 1)] {
            let variables = [("GATEWAY_TRUSTED_CIDRS", networks)];
            let sources = ConfigSources::from_variables(&variables);
            let r = &mut SettingsReader::new(&sources);
            Config::from_settings(r);
            assert_eq!(r.warnings.len(), count, "{:?}", r.warnings);
        }
    }

    #[test]
    fn default_port_is_the_one_its_clients_expect() {
        let sources = ConfigSources::default();
        assert_eq!(read_port(&mut SettingsReader::new(&sources)), 4000);
    }

    #[test]
    fn given_settings_replace_the_defaults() {
        let config = read(&[
            ("GATEWAY_API_URL", "http://api:8000"),
            ("GATEWAY_API_KEY", "k"),
            ("GATEWAY_ADMIN_IDS", "1, 2"),
        ])
        .unwrap();
        assert_eq!(
            (config.admin_ids.as_slice(), config.trusts_clients),
            (&["1".to_owned(), "2".to_owned()][..], false)
        );
        let config = read(&[("GATEWAY_TRUST_CLIENTS", "true"), ("GATEWAY_API_KEY", "k")]).unwrap();
        assert!(config.trusts_clients && config.api_url.is_none());
    }
}
