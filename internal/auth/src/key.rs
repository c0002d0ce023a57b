//! Keys that verify signatures. Each key has its own list of algorithms; a token's header only
//! selects among them.

use std::fmt;

use jsonwebtoken::crypto::rust_crypto;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::Secret;

/// The shortest HMAC secret accepted, in bytes: as long as the hash of HS256 (RFC 7518 §3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// The accepted sizes of RSA moduli, in bits: smaller ones are unsafe (RFC 7518 §3.3), larger ones
/// are rejected by the library.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The start of a PEM block of any kind.
const PEM_START: &str = "-----BEGIN ";
/// The length of an Ed25519 public key, in bytes. Checked here because the library would panic on a
/// shorter one.
const ED25519_BYTES: usize = 32;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const P256: &[Algorithm] = &[Algorithm::ES256];
const P384: &[Algorithm] = &[Algorithm::ES384];
const ED25519: &[Algorithm] = &[Algorithm::EdDSA];

/// The reason a configured key is not usable. The text names the expected form and contains nothing
/// of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The HMAC secret is too short.
    #[error(
        "{bytes} bytes; expected at least {MIN_SECRET_BYTES} random bytes (openssl rand -base64 48), \
         or JWT_ALLOW_WEAK_SECRET=true to accept a secret that can be guessed"
    )]
    WeakSecret {
        /// The length of the secret, in bytes.
        bytes: usize,
    },
    /// The HMAC secret is a PEM key, so that anyone who knows the public key could sign.
    #[error("expected a random secret and not a PEM key; a public key belongs in JWT_PUBLIC_KEY")]
    PemAsSecret,
    /// There is no PEM block, or one of another kind.
    #[error(
        "expected PEM blocks of the kind PUBLIC KEY (RSA, EC P-256 or P-384, Ed25519) or RSA PUBLIC KEY"
    )]
    Pem,
    /// The key is a private one, which is not needed here and should not be stored.
    #[error("expected a public key and not a private one (openssl pkey -pubout writes it)")]
    PrivateKey,
    /// The PEM block is a certificate.
    #[error("expected a public key and not a certificate (openssl x509 -pubkey -noout writes it)")]
    Certificate,
    /// The RSA key is too small for safety or too large for the library.
    #[error("an RSA key of {bits} bits; expected 2048 to 4096")]
    RsaSize {
        /// The size of the modulus, in bits.
        bits: usize,
    },
    /// The URL of the key set is not acceptable.
    #[error(
        "expected an https:// address without user and password (http:// only for 127.0.0.1, ::1 or localhost)"
    )]
    IssuerUrl,
    /// The machine's root certificates could not be read.
    #[error(
        "no root certificates were found on this machine (install ca-certificates, or set SSL_CERT_FILE)"
    )]
    RootCertificates,
}

/// A key and the algorithms that it accepts.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    /// The `kid` in the issuer's key set; keys from the configuration have none.
    pub(super) id: Option<String>,
    pub(super) algorithms: &'static [Algorithm],
    pub(super) key: DecodingKey,
    /// The length of its signatures, or `None` if that depends on the algorithm.
    pub(super) signature_bytes: Option<usize>,
}

impl VerifyingKey {
    /// Creates a key from an HMAC secret.
    pub(super) fn from_secret(secret: &Secret, allow_weak: bool) -> Result<Self, KeyError> {
        check_secret(secret, allow_weak)?;
        Ok(Self {
            id: None,
            algorithms: HMAC,
            key: DecodingKey::from_secret(secret.expose().as_bytes()),
            signature_bytes: None,
        })
    }

    /// Parses one PEM block.
    fn from_pem(block: &str) -> Result<Self, KeyError> {
        let label = block
            .strip_prefix(PEM_START)
            .and_then(|rest| rest.split_once("-----"))
            .map(|(label, _)| label);
        match label {
            Some("PUBLIC KEY" | "RSA PUBLIC KEY") => {}
            Some(label) if label.ends_with("PRIVATE KEY") => return Err(KeyError::PrivateKey),
            Some("CERTIFICATE") => return Err(KeyError::Certificate),
            _ => return Err(KeyError::Pem),
        }
        let pem = block.as_bytes();
        let parsed = DecodingKey::from_rsa_pem(pem).or_else(|_| DecodingKey::from_ec_pem(pem));
        Self::from_parsed(
            None,
            parsed
                .or_else(|_| DecodingKey::from_ed_pem(pem))
                .map_err(|_| KeyError::Pem)?,
        )
    }

    /// Determines the algorithms of an asymmetric key from its type and curve.
    pub(super) fn from_parsed(id: Option<String>, key: DecodingKey) -> Result<Self, KeyError> {
        // Verification with a key of the wrong curve or size would fail for every token, so it is
        // rejected now.
        let verifies =
            |algorithm| (rust_crypto::DEFAULT_PROVIDER.verifier_factory)(&algorithm, &key).is_ok();
        let (algorithms, signature_bytes) = match key.family() {
            jsonwebtoken::AlgorithmFamily::Rsa => (RSA, check_rsa(&key)?.div_ceil(8)),
            jsonwebtoken::AlgorithmFamily::Ec if verifies(Algorithm::ES256) => (P256, 64),
            jsonwebtoken::AlgorithmFamily::Ec if verifies(Algorithm::ES384) => (P384, 96),
            jsonwebtoken::AlgorithmFamily::Ed
                if key
                    .try_get_as_bytes()
                    .is_ok_and(|bytes| bytes.len() == ED25519_BYTES)
                    && verifies(Algorithm::EdDSA) =>
            {
                (ED25519, 64)
            }
            _ => return Err(KeyError::Pem),
        };
        Ok(Self {
            id,
            algorithms,
            key,
            signature_bytes: Some(signature_bytes),
        })
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// Checks that `secret` may sign tokens; `allow_weak` accepts a short one.
pub fn check_secret(secret: &Secret, allow_weak: bool) -> Result<(), KeyError> {
    if secret.expose().contains(PEM_START.trim_end()) {
        return Err(KeyError::PemAsSecret);
    }
    if secret.bytes() == 0 || (!allow_weak && secret.bytes() < MIN_SECRET_BYTES) {
        return Err(KeyError::WeakSecret {
            bytes: secret.bytes(),
        });
    }
    Ok(())
}

/// Checks that `pem` holds usable public keys and nothing else.
pub fn check_public_keys(pem: &str) -> Result<(), KeyError> {
    public_keys(pem).map(drop)
}

/// Parses one or more PEM blocks: there are two while the issuer replaces its key.
pub(super) fn public_keys(pem: &str) -> Result<Vec<VerifyingKey>, KeyError> {
    let starts: Vec<usize> = pem.match_indices(PEM_START).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return Err(KeyError::Pem);
    }
    let ends = starts.iter().skip(1).copied().chain([pem.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| VerifyingKey::from_pem(pem[start..end].trim()))
        .collect()
}

/// Returns the size of a key's modulus in bits, if it is accepted.
fn check_rsa(key: &DecodingKey) -> Result<usize, KeyError> {
    let jwk = Jwk::from_decoding_key(key, None).map_err(|_| KeyError::Pem)?;
    let AlgorithmParameters::RSA(parameters) = jwk.algorithm else {
        return Err(KeyError::Pem);
    };
    let bits = modulus_bits(&parameters.n).ok_or(KeyError::Pem)?;
    if RSA_BITS.contains(&bits) {
        Ok(bits)
    } else {
        Err(KeyError::RsaSize { bits })
    }
}

/// Returns the number of bits of a big-endian number in base64url.
fn modulus_bits(n: &str) -> Option<usize> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(n)
        .ok()?;
    let first = bytes.iter().position(|&byte| byte != 0)?;
    Some((bytes.len() - first) * 8 - bytes[first].leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_keys;

    #[test]
    fn key_has_the_algorithms_of_its_type() {
        for (pem, algorithms) in [
            (test_keys::RSA.public, RSA),
            (*test_keys::RSA_PKCS1, RSA),
            (test_keys::P256.public, P256),
            (test_keys::P384.public, P384),
            (test_keys::ED25519.public, ED25519),
        ] {
            let keys = public_keys(pem).unwrap();
            assert_eq!(
                keys.iter().map(|k| k.algorithms).collect::<Vec<_>>(),
                [algorithms],
                "{pem}"
            );
        }
    }

    #[test]
    fn each_pem_block_is_a_key() {
        let both = format!(
            "# old\n{}\n# new\n{}",
            test_keys::RSA.public,
            test_keys::P256.public
        );
        assert_eq!(public_keys(&both).unwrap().len(), 2);
        let one_bad = format!("{}\n{}", test_keys::RSA.public, test_keys::P256.private);
        assert_eq!(check_public_keys(&one_bad), Err(KeyError::PrivateKey));
    }

    #[test]
    fn invalid_public_key_gets_a_specific_error() {
        for (pem, error) in [
            ("", KeyError::Pem),
            ("hello", KeyError::Pem),
            (
                "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                KeyError::Pem,
            ),
            (test_keys::P521_PUBLIC, KeyError::Pem),
            (test_keys::SECP256K1_PUBLIC, KeyError::Pem),
            (test_keys::RSA.private, KeyError::PrivateKey),
            (*test_keys::CERTIFICATE, KeyError::Certificate),
            (test_keys::RSA_1024.public, KeyError::RsaSize { bits: 1024 }),
        ] {
            assert_eq!(check_public_keys(pem), Err(error), "{pem}");
        }
    }

    #[test]
    fn secret_must_be_long_and_no_pem() {
        let secret = |text: &str, weak| check_secret(&Secret::new(text), weak);
        assert_eq!(secret(&"x".repeat(32), false), Ok(()));
        assert_eq!(
            secret(&"x".repeat(31), false),
            Err(KeyError::WeakSecret { bytes: 31 })
        );
        assert_eq!(secret("x", true), Ok(()));
        assert_eq!(secret("", true), Err(KeyError::WeakSecret { bytes: 0 }));
        for weak in [false, true] {
            assert_eq!(
                secret(test_keys::RSA.public, weak),
                Err(KeyError::PemAsSecret)
            );
        }
        assert!(
            KeyError::WeakSecret { bytes: 3 }
                .to_string()
                .contains("JWT_ALLOW_WEAK_SECRET=true")
        );
    }

    #[test]
    fn debug_hides_the_key() {
        let key = VerifyingKey::from_secret(&Secret::new("hunter2 hunter2"), true).unwrap();
        assert_eq!(
            format!("{key:?}"),
            "VerifyingKey { algorithms: [HS256, HS384, HS512], .. }"
        );
    }
}
