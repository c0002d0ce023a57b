//! Tokens of our own: for `latido token`, for the demo, for trying things out. In production the REST API issues them.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::auth::{KeyError, Secret, check_secret};
use crate::clock::Clock;

/// What a token is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passport {
    /// The user's id: claim `id`.
    pub user: String,
    /// Businesses granted: claim `negocio_id` for one, `negocios` for several.
    pub negocios: Vec<String>,
    /// Claim `rol`.
    pub role: Option<String>,
    /// Claim `iss`.
    pub issuer: Option<String>,
    /// Claim `aud`.
    pub audience: Option<String>,
}

/// Why no token was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The secret can't be used.
    #[error(transparent)]
    Secret(#[from] KeyError),
    /// The library could not sign.
    #[error("the token could not be signed")]
    Sign,
}

/// A token signed with HS256 that lives for `lifetime` from now on.
///
/// A weak secret is accepted here: whether it may be used was decided where it was read.
pub fn issue(
    secret: &Secret,
    passport: &Passport,
    clock: &Clock,
    lifetime: Duration,
) -> Result<String, IssueError> {
    check_secret(secret, true)?;
    let now_s = clock.unix_s();
    let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let mut claims = Map::new();
    claims.insert("id".into(), passport.user.as_str().into());
    match passport.negocios.as_slice() {
        [] => {}
        [one] => drop(claims.insert("negocio_id".into(), one.as_str().into())),
        several => drop(claims.insert("negocios".into(), several.into())),
    }
    let texts = [
        ("rol", &passport.role),
        ("iss", &passport.issuer),
        ("aud", &passport.audience),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            claims.insert(name.into(), value.as_str().into());
        }
    }
    claims.insert("iat".into(), now_s.into());
    claims.insert("exp".into(), now_s.saturating_add(lifetime_s).into());
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &Value::Object(claims), &key)
        .map_err(|_| IssueError::Sign)
}

/// For fuzzing: any bytes as the claims of a token that is signed well, and as the header of one that is not.
#[cfg(any(test, fuzzing))]
pub(crate) fn sign_raw(secret: &str, bytes: &[u8]) -> (String, String) {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", part(br#"{"alg":"HS256"}"#), part(bytes));
    let key = EncodingKey::from_secret(secret.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap_or_default();
    (
        format!("{message}.{signature}"),
        format!("{}.{}.{signature}", part(bytes), part(b"{}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Verifier, VerifierConfig};

    #[test]
    fn our_own_tokens_are_accepted() {
        let (clock, secret) = (Clock::system(), Secret::new("s".repeat(32)));
        let config = VerifierConfig {
            secrets: vec![secret.clone()],
            issuer: Some("me".into()),
            ..VerifierConfig::default()
        };
        let verifier = Verifier::new(&config, clock.clone()).unwrap();
        let passport = Passport {
            user: "ana".into(),
            negocios: vec!["1".into(), "2".into()],
            role: Some("negocio".into()),
            issuer: Some("me".into()),
            audience: None,
        };
        let token = issue(&secret, &passport, &clock, Duration::from_secs(60)).unwrap();
        let principal = verifier.verify_now(&token).unwrap().unwrap();
        assert_eq!(
            (principal.user().as_str(), principal.role()),
            ("ana", Some("negocio"))
        );
        assert!((59..=61).contains(&(principal.expires_at_s() - clock.unix_s())));
    }
}
