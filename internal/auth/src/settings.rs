//! The settings of tokens and permissions.

use std::io::ErrorKind;

use latido_base::secret::Secret;
use latido_settings::{MAX_PEM_BYTES, SettingsReader, Variable, read_regular_text, variables};

use crate::api_key::MIN_KEY_BYTES;
use crate::introspection::{self, IntrospectionConfig};
use crate::policy::{self, Config as PolicyConfig};
use crate::verifier::Config as VerifierConfig;
use crate::{ApiKey, check_public_keys, check_secret, check_url};

const EXPECTED_PUBLIC_KEY: &str = "a PEM public key, or the path of a file that holds one";
const EXPECTED_SECRET: &str = "at least 32 random bytes (openssl rand -base64 48)";

variables! {
    /// The variables of tokens and permissions.
    pub const VARIABLES;
    "Identity" {
        secret JWT_SECRET "TEXT" = none,
            "Secret that signs the tokens (HS256, HS384, HS512): at least 32 random bytes (openssl rand -base64 48). There is no default";
        secret JWT_SECRET_PREVIOUS "TEXT" = none,
            "The previous secret, accepted while tokens signed with it are valid";
        plain JWT_ALLOW_WEAK_SECRET "true|false" = bool(false),
            "Accepts a secret of less than 32 bytes, which can be guessed from a single token";
        secret JWT_PUBLIC_KEY "PEM|PATH" = none,
            "Public key that verifies the tokens (RSA: RS and PS 256 to 512; EC P-256: ES256; P-384: ES384; Ed25519: EdDSA): PEM text, in which \\n may stand for a line break, or the path of a file. It may hold several keys";
        secret JWT_JWKS_URL "URL" = none,
            "Address of the issuer's key set (https), fetched every hour and when a token names an unknown key";
        plain JWT_ISSUER "TEXT" = none,
            "Required value of iss in tokens. Unset: any";
        plain JWT_AUDIENCE "TEXT" = none,
            "Value that aud of tokens must be or contain. Unset: any";
        secret JWT_INTROSPECTION_URL "URL" = none,
            "Address (https) that reports whether a token was revoked: POST {\"token\"} answers {\"valid\"}. Asked before a token is used and again while it is in use. Unset: tokens are valid until they expire";
        plain JWT_INTROSPECTION_SECONDS "SECONDS" = seconds(introspection::INTERVAL),
            "Time for which that answer is valid, and so the longest time that a revoked token can be used";
        plain JWT_INTROSPECTION_FAIL_OPEN "true|false" = bool(false),
            "Accepts tokens while that address does not answer. If false, new tokens get 503, and tokens in use end after three times JWT_INTROSPECTION_SECONDS";
        plain ADMIN_ROLES "LIST" = text(policy::ADMIN_ROLE),
            "Roles (claim rol or role) that may watch everything, separated by commas; none: no role. The default is safe, because only the issuer of tokens can put a role into one";
        plain AUTHORIZE_CACHE_SECONDS "SECONDS" = seconds(policy::CACHE_TTL),
            "Time for which the database's answer about a permission is valid";
        plain AUTHORIZE_RECHECK_SECONDS "SECONDS" = seconds(policy::RECHECK),
            "Time within which a permission that the database no longer grants ends open connections. For 10,000 viewers a lookup of all rights takes PostgreSQL 0.2 s of CPU";
    }
}

/// The token keys that a command requires. Keys that are given are checked for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRequirement {
    /// Any key that verifies tokens.
    Verify,
    /// The secret that signs tokens.
    Sign,
    /// No key.
    Nothing,
    /// No key. A weak secret is neither an error nor a warning, because the command reports it.
    Examine,
}

impl VerifierConfig {
    /// Reads the keys and rules of tokens. The streams' key fields are no setting and stay empty.
    pub fn from_settings(r: &mut SettingsReader<'_>, requirement: KeyRequirement) -> Self {
        let allow_weak_secrets = r.boolean(&JWT_ALLOW_WEAK_SECRET);
        let secrets = secrets(r, allow_weak_secrets, requirement);
        let public_keys = read_public_keys(r, &JWT_PUBLIC_KEY);
        let jwks_url = read_issuer_url(r, &JWT_JWKS_URL);
        require_keys(r, requirement);
        Self {
            secrets,
            allow_weak_secrets,
            public_keys,
            jwks_url,
            introspection: IntrospectionConfig::from_settings(r),
            issuer: read_issuer(r, &JWT_ISSUER),
            audience: r.text(&JWT_AUDIENCE).map(ToOwned::to_owned),
            ..Self::default()
        }
    }
}

fn secrets(
    r: &mut SettingsReader<'_>,
    is_weak_allowed: bool,
    requirement: KeyRequirement,
) -> Vec<Secret> {
    let is_reported = requirement == KeyRequirement::Examine;
    let mut secrets = Vec::new();
    for variable in [JWT_SECRET, JWT_SECRET_PREVIOUS] {
        let Some(secret) = r.secret(&variable) else {
            continue;
        };
        let weakness = check_secret(&secret, false)
            .err()
            .filter(|_| check_secret(&secret, true).is_ok());
        if let Some(error) = weakness.filter(|_| !is_reported) {
            r.warnings.push(format!("{}: {error}", variable.name));
        }
        r.ok_or_record(
            variable.name,
            check_secret(&secret, is_weak_allowed || is_reported),
        );
        secrets.push(secret);
    }
    secrets
}

fn require_keys(r: &mut SettingsReader<'_>, requirement: KeyRequirement) {
    let has_other_key = r.text(&JWT_PUBLIC_KEY).is_some() || r.text(&JWT_JWKS_URL).is_some();
    let expected = match requirement {
        KeyRequirement::Verify if !has_other_key => "or else JWT_PUBLIC_KEY or JWT_JWKS_URL",
        KeyRequirement::Sign => "the one that the server has",
        KeyRequirement::Verify | KeyRequirement::Nothing | KeyRequirement::Examine => return,
    };
    let separator = if requirement == KeyRequirement::Sign {
        ": "
    } else {
        ", "
    };
    r.require(
        &JWT_SECRET,
        &format!("{EXPECTED_SECRET}{separator}{expected}"),
    );
}

impl IntrospectionConfig {
    /// Reads the endpoint for the tokens of an app with keys of its own. If the variable is unset,
    /// the endpoint is `base`, that of the streams' tokens; the word `none` stands for none.
    pub fn of_app(
        r: &mut SettingsReader<'_>,
        variable: &Variable,
        base: Option<&Self>,
    ) -> Option<Self> {
        match r.text(variable) {
            None => base.cloned(),
            Some("none") => None,
            Some(_) => Some(Self {
                url: Secret::new(read_issuer_url(r, variable)?),
                interval: base.map_or(introspection::INTERVAL, |base| base.interval),
                fails_open: base.is_some_and(|base| base.fails_open),
            }),
        }
    }

    /// Reads the endpoint for revoked tokens. Returns `None` if there is none.
    fn from_settings(r: &mut SettingsReader<'_>) -> Option<Self> {
        let interval = r.seconds(&JWT_INTROSPECTION_SECONDS, 1..=3_600);
        let fails_open = r.boolean(&JWT_INTROSPECTION_FAIL_OPEN);
        let url = read_issuer_url(r, &JWT_INTROSPECTION_URL)?;
        Some(Self {
            url: Secret::new(url),
            interval,
            fails_open,
        })
    }
}

impl PolicyConfig {
    /// Reads the administrator roles and the lifetime of cached permissions. `file_roles` are the
    /// roles of `latido.toml`, which count if the variable is unset.
    pub fn from_settings(r: &mut SettingsReader<'_>, file_roles: Option<Vec<String>>) -> Self {
        let defaults = Self::default();
        Self {
            admin_roles: r
                .list_or_none(&ADMIN_ROLES)
                .or(file_roles)
                .unwrap_or(defaults.admin_roles),
            cache_ttl: r.seconds(&AUTHORIZE_CACHE_SECONDS, 1..=3_600),
            recheck: r.seconds(&AUTHORIZE_RECHECK_SECONDS, 2..=86_400),
            ..defaults
        }
    }
}

impl ApiKey {
    /// Reads an API key or its hash. Returns `None` if it is missing or invalid. A short key is
    /// warned of.
    pub fn from_settings(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<Self> {
        let key = r.secret(variable)?;
        warn_if_short(r, variable, &key);
        r.ok_or_record(variable.name, Self::parse(&key))
    }
}

/// Warns of a secret that can be guessed. The hash of a key is long enough.
pub fn warn_if_short(r: &mut SettingsReader<'_>, variable: &Variable, secret: &Secret) {
    if secret.bytes() < MIN_KEY_BYTES {
        r.warnings.push(format!(
            "{}: {} bytes can be guessed; expected at least {MIN_KEY_BYTES} (openssl rand -hex 32)",
            variable.name,
            secret.bytes()
        ));
    }
}

/// Reads the required issuer of tokens. A variable that is set but empty is warned of, because it
/// looks like a requirement and is none.
pub fn read_issuer(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<String> {
    if r.is_empty(variable) {
        r.warnings.push(format!(
            "{}: empty, so tokens of any issuer are accepted; set it, or remove it",
            variable.name
        ));
    }
    r.text(variable).map(ToOwned::to_owned)
}

/// Reads public keys from PEM text, in which `\n` may stand for a line break, or from the file at a
/// path.
pub fn read_public_keys(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<String> {
    let text = r.text(variable)?;
    let pem = if text.contains("-----BEGIN") {
        Some(text.replace("\\n", "\n"))
    } else {
        // The value is not shown in the error: it may be a key whose first line was lost.
        let read = read_regular_text(text.as_ref(), MAX_PEM_BYTES);
        let read = read.map_err(|error| {
            let reason = match error.kind() {
                ErrorKind::InvalidData => format!("the file could not be read: {error}"),
                kind => format!("no such file ({kind})"),
            };
            format!("{reason}; expected {EXPECTED_PUBLIC_KEY}")
        });
        r.ok_or_record(variable.name, read)
    }?;
    r.ok_or_record(variable.name, check_public_keys(&pem));
    Some(pem)
}

/// Reads an `https` address of a token issuer. An invalid one is recorded as an error.
pub fn read_issuer_url(r: &mut SettingsReader<'_>, variable: &Variable) -> Option<String> {
    let url = r.text(variable)?;
    r.ok_or_record(variable.name, check_url(url));
    Some(url.to_owned())
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    variables! {
        const TEST_VARIABLES;
        "Tests" {
            secret KEY "KEY" = none, "A key";
            secret OWN_URL "URL" = none, "An address";
        }
    }

    fn warnings(
        variables: &[(&str, &str)],
        read: impl FnOnce(&mut SettingsReader<'_>),
    ) -> Vec<String> {
        let sources = ConfigSources::from_variables(variables);
        let mut r = SettingsReader::new(&sources);
        read(&mut r);
        assert!(r.errors.is_empty(), "{}", r.errors);
        r.warnings
    }

    #[test]
    fn short_keys_are_warned_of() {
        assert_eq!(TEST_VARIABLES.len(), 2);
        let hash = format!("sha256:{}", "0".repeat(64));
        for (key, count) in [("short", 1), ("0123456789abcdef", 0), (hash.as_str(), 0)] {
            let found = warnings(&[("KEY", key)], |r| {
                let _key = ApiKey::from_settings(r, &KEY);
            });
            assert_eq!(found.len(), count, "{found:?}");
            assert!(found.iter().all(|text| !text.contains(key)), "{found:?}");
        }
    }

    #[test]
    fn empty_issuer_is_warned_of() {
        for (variables, count) in [
            (&[][..], 0),
            (&[("JWT_ISSUER", "")], 1),
            (&[("JWT_ISSUER", "https://issuer.example")], 0),
        ] {
            let found = warnings(variables, |r| drop(read_issuer(r, &JWT_ISSUER)));
            assert_eq!(found.len(), count, "{found:?}");
        }
    }

    #[test]
    fn app_with_own_keys_asks_the_issuer_of_the_streams_unless_it_names_another() {
        let base = IntrospectionConfig {
            url: Secret::new("https://issuer.example/introspect"),
            interval: std::time::Duration::from_secs(7),
            fails_open: true,
        };
        let url = |value: Option<&str>, base: Option<&IntrospectionConfig>| {
            let variables: Vec<_> = value.map(|value| ("OWN_URL", value)).into_iter().collect();
            let sources = ConfigSources::from_variables(&variables);
            let r = &mut SettingsReader::new(&sources);
            let config = IntrospectionConfig::of_app(r, &OWN_URL, base);
            config.map(|config| config.url.expose().to_owned())
        };
        let own = "https://other.example/introspect";
        assert_eq!(url(None, Some(&base)).as_deref(), Some(base.url.expose()));
        assert_eq!(url(Some(own), Some(&base)).as_deref(), Some(own));
        assert_eq!(url(Some("none"), Some(&base)), None);
        assert_eq!(url(None, None), None);
    }
}
