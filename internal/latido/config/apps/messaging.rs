//! Settings of the `messaging` app.

use crate::config::settings::public_keys;
use crate::config::settings_reader::SettingsReader;
use crate::config::variables as v;
use latido_app_messaging::{ClientApiVersion, Config, MessageWindows};
use latido_auth::{VerifierConfig, check_secret, check_url};

/// Reads the app's settings. Without keys of its own it uses those of the server.
pub(super) fn config(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> Config {
    let defaults = Config::new(verifier(r, server));
    let hour = |r: &mut SettingsReader<'_>, variable| {
        u32::try_from(r.number(variable, 1..=10_000_000, 1000)).unwrap_or(u32::MAX)
    };
    Config {
        default_api_version: r
            .parse(
                &v::MESSAGING_DIALECT,
                "head or document",
                ClientApiVersion::parse,
            )
            .unwrap_or_default(),
        messages_per_hour: hour(r, &v::MESSAGING_MESSAGES_PER_HOUR),
        typing_per_hour: hour(r, &v::MESSAGING_TYPING_PER_HOUR),
        windows: MessageWindows {
            retry: r.seconds(&v::MESSAGING_RETRY_SECONDS, 1..=86_400, 600),
            ..defaults.windows
        },
        pool_size: r.count(&v::MESSAGING_POOL_SIZE, 1..=1000, 8),
        ..defaults
    }
}

fn verifier(r: &mut SettingsReader<'_>, server: &VerifierConfig) -> VerifierConfig {
    let secret = r.secret(&v::MESSAGING_JWT_SECRET);
    if let Some(secret) = &secret {
        r.ok_or_record(
            v::MESSAGING_JWT_SECRET.name,
            check_secret(secret, server.allow_weak_secrets),
        );
    }
    let public_keys = public_keys(r, &v::MESSAGING_JWT_PUBLIC_KEY);
    let jwks_url = r.text(&v::MESSAGING_JWT_JWKS_URL).map(ToOwned::to_owned);
    if let Some(url) = &jwks_url {
        r.ok_or_record(v::MESSAGING_JWT_JWKS_URL.name, check_url(url));
    }
    let has_own = secret.is_some() || public_keys.is_some() || jwks_url.is_some();
    let own = |variable| r.text(variable).map(ToOwned::to_owned);
    let (issuer, audience) = (
        own(&v::MESSAGING_JWT_ISSUER),
        own(&v::MESSAGING_JWT_AUDIENCE),
    );
    if has_own {
        let secrets = secret.into_iter().collect();
        return VerifierConfig {
            secrets,
            public_keys,
            jwks_url,
            issuer,
            audience,
            key_fields: Vec::new(),
            introspection: None,
            ..server.clone()
        };
    }
    let (issuer, audience) = (
        issuer.or_else(|| server.issuer.clone()),
        audience.or_else(|| server.audience.clone()),
    );
    VerifierConfig {
        issuer,
        audience,
        key_fields: Vec::new(),
        ..server.clone()
    }
}
