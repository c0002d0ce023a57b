//! Reads a token's header and checks its signature.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::TokenError;
use crate::claims::ClaimSet;
use crate::key::VerifyingKey;

/// The longest token accepted, in bytes; most servers limit a request header to this size.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The members of a token's header that are read. They select among the keys and decide nothing.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
    /// Extensions that a reader must understand or reject (RFC 7515 §4.1.11). None is supported,
    /// and the library does not check this member. `null` is a value like any other.
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// Returns `true` for any value; without the member the default is used.
fn is_present<'de, D: Deserializer<'de>>(member: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(member).map(|_| true)
}

/// Reads the algorithm and the key id of a token's header.
pub(super) fn read_header(token: &str) -> Result<(Algorithm, Option<String>), TokenError> {
    if token.is_empty() {
        return Err(TokenError::Missing);
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Malformed);
    }
    let encoded = token.split('.').next().unwrap_or_default();
    let json = URL_SAFE_NO_PAD
        .decode(encoded)
        .map_err(|_| TokenError::Malformed)?;
    let header: TokenHeader = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if header.crit || token.split('.').count() != 3 {
        return Err(TokenError::Malformed);
    }
    let algorithm = Algorithm::from_str(&header.alg).map_err(|_| TokenError::Algorithm)?;
    Ok((algorithm, header.kid))
}

/// Returns the claims, if one of `keys` made the signature with that algorithm and accepts that
/// algorithm. A key whose signatures have another length is not tried, and no more than `max_tries`
/// are.
pub(super) fn decode_claims<'k>(
    token: &str,
    algorithm: Algorithm,
    keys: impl Iterator<Item = &'k VerifyingKey>,
    max_tries: usize,
) -> Result<ClaimSet, TokenError> {
    let mut outcome = TokenError::Algorithm;
    let (length, mut tries) = (signature_bytes(token), 0);
    for key in keys.filter(|key| key.algorithms.contains(&algorithm)) {
        if key.signature_bytes.is_some_and(|bytes| bytes != length) || tries == max_tries {
            if outcome == TokenError::Algorithm {
                outcome = TokenError::Signature;
            }
            continue;
        }
        tries += 1;
        match jsonwebtoken::decode::<ClaimSet>(token, &key.key, &signature_validation(algorithm)) {
            Ok(data) => return Ok(data.claims),
            Err(error) => outcome = token_error(error.kind()),
        }
    }
    Err(outcome)
}

/// Returns the length of a token's signature, in bytes.
fn signature_bytes(token: &str) -> usize {
    let encoded = token.rsplit('.').next().unwrap_or_default();
    encoded.len() * 3 / 4
}

/// The library checks form and signature. The claims are checked here: the library has no clock but
/// the system's, and treats some mistyped claims as absent.
fn signature_validation(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn token_error(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidToken
        | ErrorKind::Base64(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => TokenError::Malformed,
        _ => TokenError::Signature,
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};

    use super::*;
    use crate::key::public_keys;
    use crate::test_keys;

    #[test]
    fn keys_of_another_size_are_not_tried() {
        let key = EncodingKey::from_rsa_pem(test_keys::RSA.private.as_bytes()).unwrap();
        let claims = serde_json::json!({"id": "u"});
        let token = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap();
        let pem = [&test_keys::OTHER_RSA, &test_keys::RSA].map(|pair| pair.public);
        let mut keys = public_keys(&pem.join("\n")).unwrap();
        let outcome = |keys: &[VerifyingKey]| {
            let claims = decode_claims(&token, Algorithm::RS256, keys.iter(), 1);
            claims.map(|_| ())
        };
        assert_eq!(outcome(&keys), Err(TokenError::Signature), "one try");
        // As the signatures of a larger key are.
        keys[0].signature_bytes = Some(384);
        assert_eq!(outcome(&keys), Ok(()));
        keys[1].signature_bytes = Some(384);
        assert_eq!(outcome(&keys), Err(TokenError::Signature), "no try");
    }
}
