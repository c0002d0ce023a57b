//! Settings of the `modules` app.

use std::time::Duration;

use crate::config::settings_reader::SettingsReader;
use crate::config::{parse, variables as v};
use latido_app_modules::Config;
use latido_auth::{ApiKey, VerifierConfig, check_secret, check_url};
use latido_net::Origins;

/// Reads the app's settings. `time_zone` is the default zone for displayed times.
pub(super) fn config(r: &mut SettingsReader<'_>, time_zone: &str) -> Config {
    let defaults = Config::default();
    let sessions = [
        v::MODULES_SESSION_SECRET,
        v::MODULES_SESSION_SECRET_PREVIOUS,
    ];
    let zone = r.parse(
        &v::MODULES_TIMEZONE,
        "an IANA time zone such as Europe/Paris",
        parse::time_zone,
    );
    let origins = "origins such as https://panel.example.com,http://localhost:4200";
    let roles = r.text(&v::MODULES_ADMIN_ROLES).map(|text| {
        if text == "none" {
            Vec::new()
        } else {
            parse::list(text)
        }
    });
    Config {
        verifier: verifier(r),
        session_secrets: sessions
            .iter()
            .filter_map(|variable| r.secret(variable))
            .collect(),
        session_cookie: r
            .text(&v::MODULES_SESSION_COOKIE)
            .map_or(defaults.session_cookie, ToOwned::to_owned),
        session_sql: session_sql(r).unwrap_or(defaults.session_sql),
        session_ttl: r.seconds(&v::MODULES_SESSION_SECONDS, 1..=3_600, 30),
        allowed_origins: r
            .parse(&v::MODULES_ORIGINS, origins, |text| {
                text.parse::<Origins>().ok()
            })
            .unwrap_or_default()
            .listed()
            .to_vec(),
        admin_roles: roles.unwrap_or(defaults.admin_roles),
        api_key: api_key(r),
        trust_clients: r.boolean(&v::MODULES_TRUST_CLIENTS, false),
        throttle_window: Duration::from_millis(r.number(&v::MODULES_GROUP_MS, 0..=60_000, 500)),
        offline_after: r.seconds(&v::MODULES_STALE_SECONDS, 5..=86_400, 300),
        time_zone: zone.unwrap_or_else(|| time_zone.to_owned()),
        max_modules: defaults.max_modules,
    }
}

fn api_key(r: &mut SettingsReader<'_>) -> Option<ApiKey> {
    let Some(key) = r.secret(&v::MODULES_API_KEY) else {
        r.errors.add(
            v::MODULES_API_KEY.name,
            "missing; expected a key for the callers of POST /api/modules/emit/… (openssl rand -hex 32)",
        );
        return None;
    };
    r.ok_or_record(v::MODULES_API_KEY.name, ApiKey::parse(&key))
}

/// Reads the app's own token keys. Returns `None` if it uses those of the streams.
fn verifier(r: &mut SettingsReader<'_>) -> Option<VerifierConfig> {
    let secret = r.secret(&v::MODULES_JWT_SECRET);
    let jwks_url = r.text(&v::MODULES_JWT_JWKS_URL).map(ToOwned::to_owned);
    if let Some(secret) = &secret {
        r.ok_or_record(v::MODULES_JWT_SECRET.name, check_secret(secret, false));
    }
    if let Some(url) = &jwks_url {
        r.ok_or_record(v::MODULES_JWT_JWKS_URL.name, check_url(url));
    }
    let text = |variable| r.text(variable).map(ToOwned::to_owned);
    let (issuer, audience) = (text(&v::MODULES_JWT_ISSUER), text(&v::MODULES_JWT_AUDIENCE));
    if secret.is_none() && jwks_url.is_none() {
        if issuer.is_some() || audience.is_some() {
            let problem = "means nothing without MODULES_JWT_SECRET or MODULES_JWT_JWKS_URL; expected one of them";
            r.errors.add(v::MODULES_JWT_ISSUER.name, problem);
        }
        return None;
    }
    Some(VerifierConfig {
        secrets: secret.into_iter().collect(),
        jwks_url,
        issuer,
        audience,
        ..VerifierConfig::default()
    })
}

/// Returns the session query: the text itself, or the contents of a file whose name ends in `.sql`.
fn session_sql(r: &mut SettingsReader<'_>) -> Option<String> {
    let text = r.text(&v::MODULES_SESSION_SQL)?;
    if std::path::Path::new(text)
        .extension()
        .is_none_or(|extension| extension != "sql")
    {
        return Some(text.to_owned());
    }
    let expected = |error: std::io::Error| {
        format!(
            "{text:?} could not be read ({}); expected a statement, or its file",
            error.kind()
        )
    };
    r.ok_or_record(
        v::MODULES_SESSION_SQL.name,
        std::fs::read_to_string(text).map_err(expected),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, Purpose, Settings};

    const FIXED: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("LATIDO_APPS", "modules"),
    ];

    fn settings(more: &[(&str, &str)]) -> Result<Settings, String> {
        let all: Vec<_> = FIXED.iter().chain(more).copied().collect();
        Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn only_the_api_key_is_required() {
        assert!(settings(&[]).unwrap_err().contains("MODULES_API_KEY"));
        let settings = settings(&[("MODULES_API_KEY", "k")]).unwrap();
        assert_eq!(
            settings
                .apps
                .iter()
                .map(|app| app.setting.name())
                .collect::<Vec<_>>(),
            ["modules"]
        );
        let sources = ConfigSources::from_variables(&[("MODULES_API_KEY", "k")]);
        let config = config(&mut SettingsReader::new(&sources), "Europe/Paris");
        assert!(
            config.verifier.is_none() && !config.trust_clients && config.session_secrets.is_empty()
        );
        assert_eq!(config.time_zone, "Europe/Paris");
        assert!(
            settings
                .streams
                .iter()
                .any(|stream| stream.name == "modules_stats"),
            "its counts are a stream"
        );
    }

    #[test]
    fn invalid_settings_are_reported() {
        let key = ("MODULES_API_KEY", "k");
        for bad in [
            ("MODULES_JWT_SECRET", "short"),
            ("MODULES_JWT_ISSUER", "x"),
            ("MODULES_TIMEZONE", "Mars"),
            ("MODULES_SESSION_SQL", "/nowhere.sql"),
        ] {
            assert!(
                settings(&[key, bad]).unwrap_err().contains(bad.0),
                "{}",
                bad.0
            );
        }
    }
}
