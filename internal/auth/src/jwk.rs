//! A JSON Web Key Set (RFC 7517), parsed strictly and without I/O, so that tests and fuzzing can
//! try any text.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::key::VerifyingKey;

/// The most keys kept of one set, because a token without `kid` is tried against all keys of its
/// algorithm.
const MAX_KEYS: usize = 32;

/// The usable keys of a set. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Arc<[VerifyingKey]>);

/// The reason a text is no usable key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    #[error("not a JSON Web Key Set")]
    Malformed,
    #[error("no key in the set is for verifying signatures with an algorithm known here")]
    NoUsableKey,
}

impl KeySet {
    /// Parses a set. Keys that can't or must not be used are skipped, because issuers also publish
    /// keys of other kinds.
    pub(super) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct PublishedKeySet {
            keys: Vec<Value>,
        }
        let set: PublishedKeySet =
            serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let keys: Arc<[_]> = set
            .keys
            .into_iter()
            .filter_map(parse_usable_key)
            .take(MAX_KEYS)
            .collect();
        if keys.is_empty() {
            Err(KeySetError::NoUsableKey)
        } else {
            Ok(Self(keys))
        }
    }

    /// Returns whether the set is empty, because nothing was fetched yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether a key has that very id.
    pub(super) fn has_key(&self, kid: Option<&str>) -> bool {
        kid.is_some() && self.0.iter().any(|key| key.id.as_deref() == kid)
    }

    /// Returns the keys that may have signed a token with that `kid`, those with that very id
    /// first. A missing id, on either side, excludes no key.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
    ) -> impl Iterator<Item = &'a VerifyingKey> + Clone {
        let is_named = move |key: &&VerifyingKey| kid.is_some() && key.id.as_deref() == kid;
        let named = self.0.iter().filter(is_named);
        named.chain(
            self.0
                .iter()
                .filter(move |key| kid.is_none() || key.id.is_none()),
        )
    }
}

/// The members of a published key that are read. A member of another type makes the key unusable.
#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private half. A key published with it is no longer secret.
    d: Option<Value>,
}

fn parse_usable_key(key: Value) -> Option<VerifyingKey> {
    let key = PublishedKey::deserialize(key).ok()?;
    let verifies = key
        .purpose
        .as_deref()
        .is_none_or(|purpose| purpose == "sig")
        && key
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"))
        && key.d.is_none();
    if !verifies {
        return None;
    }
    let mut verifying = VerifyingKey::from_parsed(key.kid.clone(), decoding_key(&key)?).ok()?;
    if let Some(name) = &key.alg {
        // A key published for one algorithm is accepted for that one alone, and for none if that
        // algorithm is not of the key's kind.
        let algorithm: Algorithm = name.parse().ok()?;
        let at = verifying
            .algorithms
            .iter()
            .position(|own| *own == algorithm)?;
        verifying.algorithms = &verifying.algorithms[at..=at];
    }
    Some(verifying)
}

/// Decodes the key itself. `oct` keys are rejected on purpose: a published secret is not secret.
fn decoding_key(key: &PublishedKey) -> Option<DecodingKey> {
    let decoded = match (&*key.kty, key.crv.as_deref()) {
        ("RSA", _) => DecodingKey::from_rsa_components(key.n.as_deref()?, key.e.as_deref()?),
        ("EC", Some("P-256" | "P-384")) => {
            DecodingKey::from_ec_components(key.x.as_deref()?, key.y.as_deref()?)
        }
        ("OKP", Some("Ed25519")) => DecodingKey::from_ed_components(key.x.as_deref()?),
        _ => return None,
    };
    decoded
        .ok()
        .filter(|key| key.family() != AlgorithmFamily::Hmac)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::test_keys;

    fn published(pem: &[u8], changes: Value) -> Value {
        let key = DecodingKey::from_rsa_pem(pem)
            .or_else(|_| DecodingKey::from_ec_pem(pem))
            .or_else(|_| DecodingKey::from_ed_pem(pem));
        let mut jwk =
            serde_json::to_value(Jwk::from_decoding_key(&key.unwrap(), None).unwrap()).unwrap();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    fn algorithms(key: Value) -> Vec<Algorithm> {
        parse_usable_key(key)
            .map(|key| key.algorithms.to_vec())
            .unwrap_or_default()
    }

    #[test]
    fn keys_of_every_kind_are_read() {
        let rsa = test_keys::RSA.public.as_bytes();
        assert_eq!(algorithms(published(rsa, json!({}))).len(), 6);
        assert_eq!(
            algorithms(published(
                rsa,
                json!({"alg": "PS384", "use": "sig", "kid": "a"})
            )),
            [Algorithm::PS384]
        );
        assert_eq!(
            algorithms(published(rsa, json!({"key_ops": ["verify"]}))).len(),
            6
        );
        assert_eq!(
            algorithms(published(test_keys::P256.public.as_bytes(), json!({}))),
            [Algorithm::ES256]
        );
        assert_eq!(
            algorithms(published(test_keys::P384.public.as_bytes(), json!({}))),
            [Algorithm::ES384]
        );
        assert_eq!(
            algorithms(published(test_keys::ED25519.public.as_bytes(), json!({}))),
            [Algorithm::EdDSA]
        );
    }

    #[test]
    fn keys_not_for_verifying_are_skipped() {
        let rsa = test_keys::RSA.public.as_bytes();
        for changes in [
            json!({"use": "enc"}),
            json!({"use": 1}),
            json!({"key_ops": ["encrypt"]}),
            json!({"key_ops": "verify"}),
            json!({"alg": "RSA-OAEP"}),
            json!({"alg": "HS256"}),
            json!({"alg": "none"}),
            json!({"alg": "ES256"}),
            json!({"kid": 7}),
            json!({"kty": "oct", "k": "c2VjcmV0"}),
            json!({"kty": "EC", "crv": "P-256"}),
            json!({"kty": null}),
            json!({"d": "AQAB"}),
            json!({"n": "AQAB"}),
            json!({"n": "*"}),
            json!({"e": null}),
        ] {
            assert_eq!(algorithms(published(rsa, changes.clone())), [], "{changes}");
        }
        let p256 = test_keys::P256.public.as_bytes();
        assert_eq!(algorithms(published(p256, json!({"crv": "P-521"}))), []);
        assert_eq!(algorithms(published(p256, json!({"y": "AAAA"}))), []);
        let ed25519 = test_keys::ED25519.public.as_bytes();
        for x in ["", "AAAA", &"A".repeat(44)] {
            assert_eq!(
                algorithms(published(ed25519, json!({"x": x}))),
                [],
                "not 32 bytes: {x:?}"
            );
        }
    }

    #[test]
    fn set_without_a_usable_key_is_an_error() {
        assert_eq!(KeySet::parse(b"{}").unwrap_err(), KeySetError::Malformed);
        assert_eq!(
            KeySet::parse(b"<html>").unwrap_err(),
            KeySetError::Malformed
        );
        assert_eq!(
            KeySet::parse(br#"{"keys":[]}"#).unwrap_err(),
            KeySetError::NoUsableKey
        );
        assert_eq!(
            KeySet::parse(br#"{"keys":[1,null,{"kty":"oct","k":"AA"}]}"#).unwrap_err(),
            KeySetError::NoUsableKey
        );
    }

    #[test]
    fn missing_key_id_excludes_no_key() {
        let rsa = test_keys::RSA.public.as_bytes();
        let set = json!({"keys": [published(rsa, json!({"kid": "a"})), published(rsa, json!({"kid": "b"})), published(rsa, json!({}))]});
        let set = KeySet::parse(set.to_string().as_bytes()).unwrap();
        let count = |kid| set.candidates(kid).count();
        assert_eq!((count(Some("a")), count(Some("z")), count(None)), (2, 1, 3));
    }

    proptest! {
        #[test]
        fn parsing_a_key_set_never_panics(text in r#"\{"keys":\[\{("(kty|crv|x|y|n|e|use|alg)":"(OKP|EC|RSA|Ed25519|P-256|[A-Za-z0-9_-]{0,44})",?){0,6}\}\]\}"#) {
            let _ = KeySet::parse(text.as_bytes());
        }

        #[test]
        fn arbitrary_point_or_modulus_does_not_panic(x in "[A-Za-z0-9_-]{0,70}", y in "[A-Za-z0-9_-]{0,70}") {
            for key in [
                json!({"kty": "OKP", "crv": "Ed25519", "x": x}),
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y}),
                json!({"kty": "EC", "crv": "P-384", "x": x, "y": y}),
                json!({"kty": "RSA", "n": x, "e": y}),
            ] {
                let _ = parse_usable_key(key);
            }
        }
    }
}
