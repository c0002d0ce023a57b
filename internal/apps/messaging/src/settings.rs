//! The settings of the messaging app.

use latido_app_kit::ApiKeys;
use latido_auth::{
    IntrospectionConfig, VerifierConfig, check_secret, read_issuer, read_issuer_url,
    read_public_keys,
};
use latido_settings::{SettingsReader, variables};

use crate::api_version::ClientApiVersion;
use crate::config::{Config, JOINS_PER_HOUR, PER_HOUR, POOL_SIZE, STATUSES_PER_HOUR};
use crate::store::MessageWindows;
use crate::store::RETRY_WINDOW;

variables! {
    /// The variables of the messaging app.
    pub(super) const VARIABLES;
    "App messaging" {
        secret MESSAGING_JWT_SECRET "TEXT" = shown("the server's"),
            "Secret of its own tokens (HS256, HS384, HS512), at least 32 bytes. With any key of its own, the server's keys do not count for it";
        secret MESSAGING_JWT_PUBLIC_KEY "PEM|PATH" = shown("the server's"),
            "Public key of its tokens, PEM text or the path of a file";
        secret MESSAGING_JWT_JWKS_URL "URL" = shown("the server's"),
            "Address of its issuer's key set (https)";
        plain MESSAGING_JWT_ISSUER "TEXT" = shown("the server's"),
            "Required value of iss in its tokens";
        plain MESSAGING_JWT_AUDIENCE "TEXT" = shown("the server's"),
            "Value that aud of its tokens must be or contain";
        secret MESSAGING_JWT_INTROSPECTION_URL "URL" = shown("JWT_INTROSPECTION_URL"),
            "Address (https) that reports whether one of those tokens was revoked. none: they are valid until they expire";
        secret MESSAGING_API_KEY "KEYS" = none,
            "Keys with which servers send notifications, as X-API-Key or Bearer, at least 16 characters each, separated by commas; or sha256: and the hash. Without it none can";
        plain MESSAGING_DIALECT "head|document" = shown("the address's"),
            "Message format of a client that has not yet shown its own: document at /socket, head at /messaging/socket (docs/apps/messaging.md)";
        plain MESSAGING_MESSAGES_PER_HOUR "N" = u32(PER_HOUR),
            "Messages per hour of one user, on all devices together";
        plain MESSAGING_TYPING_PER_HOUR "N" = u32(PER_HOUR),
            "How often per hour one user may begin to type";
        plain MESSAGING_REACTIONS_PER_HOUR "N" = u32(PER_HOUR),
            "Reactions that one user may add or remove per hour, at most 60 at once";
        plain MESSAGING_STATUSES_PER_HOUR "N" = u32(STATUSES_PER_HOUR),
            "How often per hour one user may set a status, at most 20 times at once";
        plain MESSAGING_JOINS_PER_HOUR "N" = u32(JOINS_PER_HOUR),
            "Channels that one user may join per hour, on all devices together, at most 400 at once";
        plain MESSAGING_RETRY_SECONDS "SECONDS" = seconds(RETRY_WINDOW),
            "Time for which a message with the same number and content counts as a retry of the first";
        plain MESSAGING_POOL_SIZE "N" = usize(POOL_SIZE),
            "Maximum number of connections to the database, in addition to DATABASE_POOL_SIZE";
    }
}

impl Config {
    /// Reads the settings. Without keys of its own, the app uses those of the server.
    pub(super) fn from_settings(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> Self {
        let defaults = Self::new(verifier(r, server));
        Self {
            api_keys: api_keys(r),
            assumed_api_version: r.parse(
                &MESSAGING_DIALECT,
                "head or document",
                ClientApiVersion::parse,
            ),
            messages_per_hour: r.number(&MESSAGING_MESSAGES_PER_HOUR, 1..=10_000_000),
            typing_per_hour: r.number(&MESSAGING_TYPING_PER_HOUR, 1..=10_000_000),
            reactions_per_hour: r.number(&MESSAGING_REACTIONS_PER_HOUR, 1..=10_000_000),
            statuses_per_hour: r.number(&MESSAGING_STATUSES_PER_HOUR, 1..=10_000_000),
            joins_per_hour: r.number(&MESSAGING_JOINS_PER_HOUR, 1..=10_000_000),
            windows: MessageWindows {
                retry: r.seconds(&MESSAGING_RETRY_SECONDS, 1..=86_400),
                ..defaults.windows
            },
            pool_size: r.number(&MESSAGING_POOL_SIZE, 1..=1000),
            ..defaults
        }
    }
}

fn api_keys(r: &mut SettingsReader<'_>) -> ApiKeys {
    let list = r.secret(&MESSAGING_API_KEY);
    list.and_then(|list| r.ok_or_record(MESSAGING_API_KEY.name, ApiKeys::parse(&list)))
        .unwrap_or_default()
}

fn verifier(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> VerifierConfig {
    let secret = r.secret(&MESSAGING_JWT_SECRET);
    if let Some(secret) = &secret {
        r.ok_or_record(
            MESSAGING_JWT_SECRET.name,
            check_secret(secret, server.allow_weak_secrets),
        );
    }
    let public_keys = read_public_keys(r, &MESSAGING_JWT_PUBLIC_KEY);
    let jwks_url = read_issuer_url(r, &MESSAGING_JWT_JWKS_URL);
    let has_own_keys = secret.is_some() || public_keys.is_some() || jwks_url.is_some();
    let issuer = read_issuer(r, &MESSAGING_JWT_ISSUER);
    let audience = r.text(&MESSAGING_JWT_AUDIENCE).map(ToOwned::to_owned);
    if has_own_keys {
        return VerifierConfig {
            secrets: secret.into_iter().collect(),
            public_keys,
            jwks_url,
            issuer,
            audience,
            key_fields: Vec::new(),
            keeps_claims: false,
            introspection: IntrospectionConfig::of_app(
                r,
                &MESSAGING_JWT_INTROSPECTION_URL,
                server.introspection.as_ref(),
            ),
            ..server.clone()
        };
    }
    VerifierConfig {
        issuer: issuer.or_else(|| server.issuer.clone()),
        audience: audience.or_else(|| server.audience.clone()),
        key_fields: Vec::new(),
        keeps_claims: false,
        ..server.clone()
    }
}

#[cfg(test)]
mod tests {
    use latido_auth::Secret;
    use latido_settings::ConfigSources;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let sources = ConfigSources::from_variables(variables);
        let r = &mut SettingsReader::new(&sources);
        let server = VerifierConfig {
            secrets: vec![Secret::new(SECRET)],
            issuer: Some("server".to_owned()),
            ..VerifierConfig::default()
        };
        let config = Config::from_settings(r, &server);
        if r.errors.is_empty() {
            Ok(config)
        } else {
            Err(r.errors.to_string())
        }
    }

    #[test]
    fn keys_of_the_server_count_unless_there_are_own_ones() {
        let config = read(&[]).unwrap();
        assert_eq!(config.verifier.secrets[0].expose(), SECRET);
        assert_eq!(config.verifier.issuer.as_deref(), Some("server"));
        assert_eq!((config.messages_per_hour, config.pool_size), (1000, 8));
        let own = "another secret of more than 32 bytes";
        let config = read(&[("MESSAGING_JWT_SECRET", own)]).unwrap();
        let secrets: Vec<_> = config.verifier.secrets.iter().map(Secret::expose).collect();
        assert_eq!((secrets, config.verifier.issuer), (vec![own], None));
    }

    #[test]
    fn invalid_messaging_settings_are_reported() {
        for (name, value) in [
            ("MESSAGING_JWT_SECRET", "short"),
            ("MESSAGING_JWT_JWKS_URL", "keys.example"),
            ("MESSAGING_API_KEY", "short"),
            ("MESSAGING_DIALECT", "tail"),
            ("MESSAGING_POOL_SIZE", "0"),
        ] {
            let errors = read(&[(name, value)]).unwrap_err();
            assert!(errors.contains(name), "{errors}");
        }
    }
}
