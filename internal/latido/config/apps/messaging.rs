//! Settings of the `messaging` app.

use std::time::Duration;

use latido_app_messaging::{ClientApiVersion, Config, MessageWindows};
use latido_auth::{VerifierConfig, check_secret, read_issuer_url, read_public_keys};
use latido_settings::{SettingsReader, variables};

variables! {
    /// The variables of the app.
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
        plain MESSAGING_DIALECT "head|document" = shown("head"),
            "Message format of a client that has not yet shown its own (docs/apps/messaging.md)";
        plain MESSAGING_MESSAGES_PER_HOUR "N" = u32(1_000),
            "Messages per hour of one user, on all devices together";
        plain MESSAGING_TYPING_PER_HOUR "N" = u32(1_000),
            "How often per hour one user may begin to type";
        plain MESSAGING_RETRY_SECONDS "SECONDS" = seconds(Duration::from_secs(600)),
            "Time for which a message with the same number and content counts as a retry of the first";
        plain MESSAGING_POOL_SIZE "N" = usize(8),
            "Maximum number of connections to the database, in addition to DATABASE_POOL_SIZE";
    }
}

/// Reads the app's settings. Without keys of its own it uses those of the server.
pub(super) fn config(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> Config {
    let defaults = Config::new(verifier(r, server));
    Config {
        default_api_version: r
            .parse(
                &MESSAGING_DIALECT,
                "head or document",
                ClientApiVersion::parse,
            )
            .unwrap_or_default(),
        messages_per_hour: r.number(&MESSAGING_MESSAGES_PER_HOUR, 1..=10_000_000),
        typing_per_hour: r.number(&MESSAGING_TYPING_PER_HOUR, 1..=10_000_000),
        windows: MessageWindows {
            retry: r.seconds(&MESSAGING_RETRY_SECONDS, 1..=86_400),
            ..defaults.windows
        },
        pool_size: r.number(&MESSAGING_POOL_SIZE, 1..=1_000),
        ..defaults
    }
}

fn verifier(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> VerifierConfig {
    let secret = r.secret(&MESSAGING_JWT_SECRET);
    if let Some(secret) = &secret {
        let checked = check_secret(secret, server.allow_weak_secrets);
        r.ok_or_record(MESSAGING_JWT_SECRET.name, checked);
    }
    let public_keys = read_public_keys(r, &MESSAGING_JWT_PUBLIC_KEY);
    let jwks_url = read_issuer_url(r, &MESSAGING_JWT_JWKS_URL);
    let issuer = r.text(&MESSAGING_JWT_ISSUER).map(ToOwned::to_owned);
    let audience = r.text(&MESSAGING_JWT_AUDIENCE).map(ToOwned::to_owned);
    if secret.is_some() || public_keys.is_some() || jwks_url.is_some() {
        return VerifierConfig {
            secrets: secret.into_iter().collect(),
            public_keys,
            jwks_url,
            issuer,
            audience,
            key_fields: Vec::new(),
            introspection: None,
            ..server.clone()
        };
    }
    VerifierConfig {
        issuer: issuer.or_else(|| server.issuer.clone()),
        audience: audience.or_else(|| server.audience.clone()),
        key_fields: Vec::new(),
        ..server.clone()
    }
}
