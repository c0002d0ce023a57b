//! Issuing tokens: for `latido token`, for the demo, for trying things out. In production the REST
//! API issues them.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value};

use crate::{KeyError, Secret, check_secret};
use latido_base::clock::Clock;

/// The content of a token to be issued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSpec {
    /// The user's id, as claim `id`.
    pub user: String,
    /// The granted businesses: claim `negocio_id` for one, `negocios` for several.
    pub negocios: Vec<String>,
    /// The role, as claim `rol`.
    pub role: Option<String>,
    /// The issuer, as claim `iss`.
    pub issuer: Option<String>,
    /// The audience, as claim `aud`.
    pub audience: Option<String>,
    /// Further claims, such as the keys of a stream under the name of its key.
    pub claims: Vec<(String, Value)>,
}

/// The reason no token was issued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The secret can't be used.
    #[error(transparent)]
    Secret(#[from] KeyError),
    /// A further claim has the name of another.
    #[error(
        "the claim {0} comes twice; expected each name once, and none that another option sets"
    )]
    RepeatedClaim(String),
    /// The library could not sign the token.
    #[error("the token could not be signed")]
    Sign,
}

/// Issues a token signed with HS256 that expires after `lifetime`.
///
/// A weak secret is accepted here: the code that read it has already decided that it may be used.
pub fn issue(
    secret: &Secret,
    spec: &TokenSpec,
    clock: &Clock,
    lifetime: Duration,
) -> Result<String, IssueError> {
    check_secret(secret, true)?;
    let now_s = clock.unix_s();
    let lifetime_s = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
    let mut claims = Map::new();
    claims.insert("id".into(), spec.user.as_str().into());
    match spec.negocios.as_slice() {
        [] => {}
        [one] => drop(claims.insert("negocio_id".into(), one.as_str().into())),
        several => drop(claims.insert("negocios".into(), several.into())),
    }
    let optional_claims = [
        ("rol", &spec.role),
        ("iss", &spec.issuer),
        ("aud", &spec.audience),
    ];
    for (name, value) in optional_claims {
        if let Some(value) = value {
            claims.insert(name.into(), value.as_str().into());
        }
    }
    claims.insert("iat".into(), now_s.into());
    claims.insert("exp".into(), now_s.saturating_add(lifetime_s).into());
    for (name, value) in &spec.claims {
        if claims.insert(name.clone(), value.clone()).is_some() {
            return Err(IssueError::RepeatedClaim(name.clone()));
        }
    }
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &Value::Object(claims), &key)
        .map_err(|_| IssueError::Sign)
}

/// Signs any bytes as the claims of a validly signed token, and as the header of an invalid one.
/// For the fuzz targets.
#[cfg(any(test, fuzzing, feature = "testing"))]
pub fn sign_raw(secret: &str, bytes: &[u8]) -> (String, String) {
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
    use crate::{Verifier, VerifierConfig};

    #[test]
    fn further_claims_do_not_replace_others() {
        let (clock, secret) = (Clock::system(), Secret::new("s".repeat(32)));
        let token = |claims: &[&str]| {
            let spec = TokenSpec {
                user: "ana".into(),
                role: Some("jefe".into()),
                claims: claims
                    .iter()
                    .map(|name| ((*name).into(), 7.into()))
                    .collect(),
                ..TokenSpec::default()
            };
            issue(&secret, &spec, &clock, Duration::from_secs(60))
        };
        assert!(token(&["tienda_id", "caja"]).is_ok());
        for (claims, name) in [
            (&["a", "a"][..], "a"),
            (&["id"], "id"),
            (&["exp"], "exp"),
            (&["rol"], "rol"),
        ] {
            assert_eq!(token(claims), Err(IssueError::RepeatedClaim(name.into())));
        }
    }

    #[test]
    fn issued_tokens_are_accepted() {
        let (clock, secret) = (Clock::system(), Secret::new("s".repeat(32)));
        let config = VerifierConfig {
            secrets: vec![secret.clone()],
            issuer: Some("me".into()),
            ..VerifierConfig::default()
        };
        let verifier = Verifier::new(&config, clock.clone()).unwrap();
        let spec = TokenSpec {
            user: "ana".into(),
            negocios: vec!["1".into(), "2".into()],
            role: Some("negocio".into()),
            issuer: Some("me".into()),
            audience: None,
            claims: vec![("tienda_id".into(), 7.into())],
        };
        let token = issue(&secret, &spec, &clock, Duration::from_secs(60)).unwrap();
        let principal = verifier.try_verify_cached(&token).unwrap().unwrap();
        assert_eq!(
            (principal.user().as_str(), principal.role()),
            ("ana", Some("negocio"))
        );
        assert!((59..=61).contains(&(principal.expires_at_s() - clock.unix_s())));
    }
}
