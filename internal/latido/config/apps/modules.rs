//! Settings of the `modules` app.

use std::time::Duration;

use latido_app_modules::Config;
use latido_auth::{ApiKey, VerifierConfig, check_secret, read_issuer_url};
use latido_net::Origins;
use latido_settings::{SettingsReader, variables};

const EXPECTED_KEY: &str =
    "a key for the callers of POST /api/modules/emit/… (openssl rand -hex 32)";
const EXPECTED_ORIGINS: &str = "origins such as https://panel.example.com,http://localhost:4200";

variables! {
    /// The variables of the app.
    pub(super) const VARIABLES;
    "App modules" {
        secret MODULES_API_KEY "KEY" = none,
            "Key that callers of POST /api/modules/emit/… must send as X-API-Key, or sha256: and its hexadecimal hash. The app does not start without it";
        secret MODULES_JWT_SECRET "TEXT" = shown("JWT_SECRET"),
            "Secret that signs the tokens of the app's web clients, if it differs from that of the streams";
        secret MODULES_JWT_JWKS_URL "URL" = shown("JWT_JWKS_URL"),
            "Address of their issuer's key set. With it or MODULES_JWT_SECRET, the keys of the streams do not count for this app";
        plain MODULES_JWT_ISSUER "TEXT" = none,
            "Required value of iss in tokens of MODULES_JWT_SECRET and MODULES_JWT_JWKS_URL. Unset: any";
        plain MODULES_JWT_AUDIENCE "TEXT" = none,
            "Value that aud of those tokens must be or contain. Unset: any";
        plain MODULES_ADMIN_ROLES "LIST" = text("admin"),
            "Roles (claim rol or role) of this app's administrators; none: no role";
        secret MODULES_SESSION_SECRET "TEXT" = none,
            "Secret that signs the session cookie of express-session. Unset: cookies identify nobody";
        secret MODULES_SESSION_SECRET_PREVIOUS "TEXT" = none,
            "The previous secret, accepted while cookies signed with it are valid";
        plain MODULES_SESSION_COOKIE "NAME" = text("connect.sid"),
            "Name of the session cookie";
        plain MODULES_SESSION_SQL "SQL|PATH" = shown("connect-pg-simple's table session"),
            "Statement, or the path of a .sql file with one: $1 is the id of a session, the columns are user_id, is_admin and nickname";
        plain MODULES_SESSION_SECONDS "SECONDS" = seconds(Duration::from_secs(30)),
            "Time for which an answer about a session is valid. The connections of a session that has ended are closed within that time";
        plain MODULES_ORIGINS "LIST" = none,
            "Pages of other hosts that may use the session cookie (https://panel.example.com). Pages of the same host always may";
        plain MODULES_TIMEZONE "ZONE" = shown("TIMEZONE"),
            "IANA time zone in which lastSeenFormatted is written";
        plain MODULES_GROUP_MS "MILLISECONDS" = milliseconds(Duration::from_millis(500)),
            "Time for which updates of one kind about one module are collected after the first; the newest is sent. 0: they are not collected";
        plain MODULES_STALE_SECONDS "SECONDS" = seconds(Duration::from_secs(300)),
            "Time for which a silent module counts as online";
        plain MODULES_TRUST_CLIENTS "true|false" = bool(false),
            "Accepts web clients without proof of their identity, and modules without a password. Only for a closed network";
    }
}

/// Reads the app's settings. `time_zone` is the default zone for displayed times.
pub(super) fn config(r: &mut SettingsReader<'_>, time_zone: &str) -> Config {
    let defaults = Config::default();
    let sessions = [MODULES_SESSION_SECRET, MODULES_SESSION_SECRET_PREVIOUS];
    Config {
        verifier: verifier(r),
        session_secrets: sessions
            .iter()
            .filter_map(|variable| r.secret(variable))
            .collect(),
        session_cookie: r.text_or_default(&MODULES_SESSION_COOKIE).to_owned(),
        session_sql: session_sql(r).unwrap_or(defaults.session_sql),
        session_ttl: r.seconds(&MODULES_SESSION_SECONDS, 1..=3_600),
        allowed_origins: allowed_origins(r),
        admin_roles: r
            .list_or_none(&MODULES_ADMIN_ROLES)
            .unwrap_or(defaults.admin_roles),
        api_key: api_key(r),
        trust_clients: r.boolean(&MODULES_TRUST_CLIENTS),
        throttle_window: r.milliseconds(&MODULES_GROUP_MS, 0..=60_000),
        offline_after: r.seconds(&MODULES_STALE_SECONDS, 5..=86_400),
        time_zone: r
            .time_zone(&MODULES_TIMEZONE, "Europe/Paris")
            .unwrap_or_else(|| time_zone.to_owned()),
        max_modules: defaults.max_modules,
    }
}

fn api_key(r: &mut SettingsReader<'_>) -> Option<ApiKey> {
    r.require(&MODULES_API_KEY, EXPECTED_KEY);
    ApiKey::from_settings(r, &MODULES_API_KEY)
}

/// Reads the app's own token keys. Returns `None` if it uses those of the streams.
fn verifier(r: &mut SettingsReader<'_>) -> Option<VerifierConfig> {
    let secret = r.secret(&MODULES_JWT_SECRET);
    if let Some(secret) = &secret {
        r.ok_or_record(MODULES_JWT_SECRET.name, check_secret(secret, false));
    }
    let jwks_url = read_issuer_url(r, &MODULES_JWT_JWKS_URL);
    let issuer = r.text(&MODULES_JWT_ISSUER).map(ToOwned::to_owned);
    let audience = r.text(&MODULES_JWT_AUDIENCE).map(ToOwned::to_owned);
    if secret.is_none() && jwks_url.is_none() {
        if issuer.is_some() || audience.is_some() {
            let problem = "means nothing without MODULES_JWT_SECRET or MODULES_JWT_JWKS_URL; expected one of them";
            r.errors.add(MODULES_JWT_ISSUER.name, problem);
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

/// Reads the pages that may use the session cookie; none if the variable is unset.
fn allowed_origins(r: &mut SettingsReader<'_>) -> Vec<String> {
    let parse = |text: &str| text.parse::<Origins>().ok();
    let origins = r.parse(&MODULES_ORIGINS, EXPECTED_ORIGINS, parse);
    origins.unwrap_or_default().listed().to_vec()
}

/// Returns the session query: the text itself, or the contents of a file whose name ends in `.sql`.
fn session_sql(r: &mut SettingsReader<'_>) -> Option<String> {
    let text = r.text(&MODULES_SESSION_SQL)?;
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
        MODULES_SESSION_SQL.name,
        std::fs::read_to_string(text).map_err(expected),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigErrors, ConfigSources, Purpose, Settings};

    const FIXED: [(&str, &str); 3] = [
        ("DATABASE_URL", "postgresql://u@h/d"),
        ("JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("LATIDO_APPS", "modules"),
    ];

    fn settings(more: &[(&str, &str)]) -> Result<Settings, ConfigErrors> {
        let all: Vec<_> = FIXED.iter().chain(more).copied().collect();
        Settings::read(&ConfigSources::from_variables(&all), Purpose::Serve)
    }

    #[test]
    fn only_the_api_key_is_required() {
        assert!(
            settings(&[])
                .unwrap_err()
                .to_string()
                .contains("MODULES_API_KEY")
        );
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
                settings(&[key, bad])
                    .unwrap_err()
                    .to_string()
                    .contains(bad.0),
                "{}",
                bad.0
            );
        }
    }
}
