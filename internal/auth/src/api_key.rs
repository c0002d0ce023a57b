//! The key of the notification hook.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Secret;

/// The prefix of a hashed key, for configurations that should not hold the key itself.
const HASH_PREFIX: &str = "sha256:";

/// The length below which a key in plain text can be guessed, in bytes.
pub(crate) const MIN_KEY_BYTES: usize = 16;

/// An API key, kept only as its SHA-256.
#[derive(Clone)]
pub struct ApiKey([u8; 32]);

/// The error for a setting that starts with `sha256:` without a valid hash behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits after sha256:")]
pub struct InvalidApiKey;

impl ApiKey {
    /// Parses the configured key: its text, or `sha256:` and the hexadecimal SHA-256 of its text.
    pub fn parse(setting: &Secret) -> Result<Self, InvalidApiKey> {
        match setting.expose().strip_prefix(HASH_PREFIX) {
            Some(hex) => digest_from_hex(hex).map(Self).ok_or(InvalidApiKey),
            None => Ok(Self(Sha256::digest(setting.expose()).into())),
        }
    }

    /// Returns whether `candidate` is the key. Both sides are hashed and compared in constant time,
    /// so the duration reveals neither the key's length nor how much of a guess was right.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let candidate: [u8; 32] = Sha256::digest(candidate).into();
        self.0.ct_eq(&candidate).into()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey([redacted])")
    }
}

fn digest_from_hex(hex: &str) -> Option<[u8; 32]> {
    // `from_str_radix` would accept a sign as well.
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_matches() {
        let key = ApiKey::parse(&Secret::new("a key")).unwrap();
        assert!(key.matches(b"a key"));
        for other in [&b""[..], b"a ke", b"a key ", b"A key", b"\xff"] {
            assert!(!key.matches(other));
        }
    }

    #[test]
    fn configured_hash_accepts_its_key() {
        let hash = "sha256:2C70E12B7A0646F92279F427C7B38E7334D8E5389CFF167A1DC30E73F826B683"; // SHA-256 of "key"
        let key = ApiKey::parse(&Secret::new(hash)).unwrap();
        assert!(key.matches(b"key"));
        assert!(
            !key.matches(hash.as_bytes()),
            "the hash itself is not a key"
        );
        for bad in [
            "sha256:",
            "sha256:12",
            &format!("sha256:{}", "+".repeat(64)),
            &format!("sha256:{}", "é".repeat(32)),
        ] {
            assert!(ApiKey::parse(&Secret::new(bad)).is_err(), "{bad}");
        }
        assert!(!format!("{key:?}").contains("2c70"));
    }
}
