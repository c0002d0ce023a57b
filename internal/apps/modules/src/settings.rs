//! The settings of the modules app.

use latido_auth::{
    ApiKey, IntrospectionConfig, Secret, VerifierConfig, check_secret, read_issuer,
    read_issuer_url, warn_if_short,
};
use latido_net::Origins;
use latido_settings::{MAX_TEXT_BYTES, SettingsReader, read_regular_text, variables};

use crate::config::{
    ADMIN_ROLE, Config, OFFLINE_AFTER, SESSION_COOKIE, SESSION_TTL, THROTTLE_WINDOW,
};

const EXPECTED_ORIGINS: &str = "origins such as https://panel.example.com,http://localhost:4200";
const EXPECTED_API_KEY: &str =
    "a key for the callers of POST /api/modules/emit/… (openssl rand -hex 32)";

variables! {
    /// The variables of the modules app.
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
        secret MODULES_JWT_INTROSPECTION_URL "URL" = shown("JWT_INTROSPECTION_URL"),
            "Address (https) that reports whether one of those tokens was revoked. none: they are valid until they expire";
        plain MODULES_ADMIN_ROLES "LIST" = text(ADMIN_ROLE),
            "Roles (claim rol or role) of this app's administrators; none: no role";
        secret MODULES_SESSION_SECRET "TEXT" = none,
            "Secret that signs the session cookie of express-session. Unset: cookies identify nobody";
        secret MODULES_SESSION_SECRET_PREVIOUS "TEXT" = none,
            "The previous secret, accepted while cookies signed with it are valid";
        plain MODULES_SESSION_COOKIE "NAME" = text(SESSION_COOKIE),
            "Name of the session cookie";
        plain MODULES_SESSION_SQL "SQL|PATH" = shown("connect-pg-simple's table session"),
            "Statement, or the path of a .sql file with one: $1 is the id of a session, the columns are user_id, is_admin and nickname";
        plain MODULES_SESSION_SECONDS "SECONDS" = seconds(SESSION_TTL),
            "Time for which an answer about a session is valid. The connections of a session that has ended are closed within that time";
        plain MODULES_ORIGINS "LIST" = none,
            "Pages of other hosts that may connect and use the session cookie (https://panel.example.com). Pages of the same host always may";
        plain MODULES_TIMEZONE "ZONE" = shown("TIMEZONE"),
            "IANA time zone in which lastSeenFormatted is written";
        plain MODULES_GROUP_MS "MILLISECONDS" = milliseconds(THROTTLE_WINDOW),
            "Time for which updates of one kind about one module are collected after the first; the newest is sent. 0: they are not collected";
        plain MODULES_STALE_SECONDS "SECONDS" = seconds(OFFLINE_AFTER),
            "Time for which a silent module counts as online";
        plain MODULES_TRUST_CLIENTS "true|false" = bool(false),
            "Accepts web clients without proof of their identity, and modules without a password. Only for a closed network";
    }
}

impl Config {
    /// Reads the settings. `time_zone` is the default zone for displayed times, and
    /// `introspection` reports revoked tokens of the streams.
    pub(super) fn from_settings(
        r: &mut SettingsReader<'_>,
        time_zone: &str,
        introspection: Option<&IntrospectionConfig>,
    ) -> Self {
        let defaults = Self::default();
        let session_secrets = session_secrets(r);
        let zone = r.time_zone(&MODULES_TIMEZONE, "Europe/Paris");
        r.require(&MODULES_API_KEY, EXPECTED_API_KEY);
        Self {
            verifier: verifier(r, introspection),
            session_secrets,
            session_cookie: r.text_or_default(&MODULES_SESSION_COOKIE).to_owned(),
            session_sql: session_sql(r).unwrap_or(defaults.session_sql),
            session_ttl: r.seconds(&MODULES_SESSION_SECONDS, 1..=3_600),
            allowed_origins: allowed_origins(r),
            admin_roles: r
                .list_or_none(&MODULES_ADMIN_ROLES)
                .unwrap_or(defaults.admin_roles),
            api_key: ApiKey::from_settings(r, &MODULES_API_KEY),
            trust_clients: r.boolean(&MODULES_TRUST_CLIENTS),
            throttle_window: r.milliseconds(&MODULES_GROUP_MS, 0..=60_000),
            offline_after: r.seconds(&MODULES_STALE_SECONDS, 5..=86_400),
            time_zone: zone.unwrap_or_else(|| time_zone.to_owned()),
            max_modules: defaults.max_modules,
        }
    }
}

/// Reads the list of origins. A `*` names no other host, because every origin would be one. `null`
/// and `file://` are refused: pages of any site can have them.
fn allowed_origins(r: &mut SettingsReader<'_>) -> Vec<String> {
    let parse = |text: &str| text.parse().ok().filter(Origins::have_hosts);
    let origins = r.parse(&MODULES_ORIGINS, EXPECTED_ORIGINS, parse);
    origins.unwrap_or_default().listed().to_vec()
}

/// Reads the secrets of session cookies. Short ones are warned of.
fn session_secrets(r: &mut SettingsReader<'_>) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for variable in [MODULES_SESSION_SECRET, MODULES_SESSION_SECRET_PREVIOUS] {
        if let Some(secret) = r.secret(&variable) {
            warn_if_short(r, &variable, &secret);
            secrets.push(secret);
        }
    }
    secrets
}

/// Reads the app's own token keys. Returns `None` if it uses those of the streams.
fn verifier(
    r: &mut SettingsReader<'_>,
    introspection: Option<&IntrospectionConfig>,
) -> Option<VerifierConfig> {
    let secret = r.secret(&MODULES_JWT_SECRET);
    let jwks_url = read_issuer_url(r, &MODULES_JWT_JWKS_URL);
    if let Some(secret) = &secret {
        r.ok_or_record(MODULES_JWT_SECRET.name, check_secret(secret, false));
    }
    let issuer = read_issuer(r, &MODULES_JWT_ISSUER);
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
        introspection: IntrospectionConfig::of_app(
            r,
            &MODULES_JWT_INTROSPECTION_URL,
            introspection,
        ),
        ..VerifierConfig::default()
    })
}

/// Returns the session query: the text itself, or the contents of a file whose name ends in `.sql`.
fn session_sql(r: &mut SettingsReader<'_>) -> Option<String> {
    let text = r.text(&MODULES_SESSION_SQL)?;
    let extension = std::path::Path::new(text).extension();
    if extension.is_none_or(|extension| extension != "sql") {
        return Some(text.to_owned());
    }
    let expected =
        |error| format!("{text:?} could not be read ({error}); expected a statement, or its file");
    let read = read_regular_text(text.as_ref(), MAX_TEXT_BYTES).map_err(expected);
    r.ok_or_record(MODULES_SESSION_SQL.name, read)
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let sources = ConfigSources::from_variables(variables);
        let r = &mut SettingsReader::new(&sources);
        let config = Config::from_settings(r, "Europe/Paris", None);
        if r.errors.is_empty() {
            Ok(config)
        } else {
            Err(r.errors.to_string())
        }
    }

    #[test]
    fn only_the_api_key_is_required() {
        assert!(read(&[]).unwrap_err().contains("MODULES_API_KEY: missing"));
        let config = read(&[("MODULES_API_KEY", "k")]).unwrap();
        assert!(
            config.verifier.is_none() && !config.trust_clients && config.session_secrets.is_empty()
        );
        assert_eq!(config.time_zone, "Europe/Paris");
        let defaults = Config {
            time_zone: config.time_zone.clone(),
            api_key: config.api_key.clone(),
            ..Config::default()
        };
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn invalid_modules_settings_are_reported() {
        for bad in [
            ("MODULES_JWT_SECRET", "short"),
            ("MODULES_JWT_ISSUER", "x"),
            ("MODULES_TIMEZONE", "Mars"),
            ("MODULES_SESSION_SQL", "/nowhere.sql"),
            ("MODULES_ORIGINS", "panel.example.com"),
        ] {
            let errors = read(&[("MODULES_API_KEY", "k"), bad]).unwrap_err();
            assert!(errors.contains(bad.0), "{errors}");
        }
    }
}
