//! Device passwords: bcrypt once per connection, then a keyed hash for each further frame.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use latido_auth::Secret;

/// The longest password to check, in bytes. bcrypt itself reads only 72 bytes.
const MAX_PASSWORD_BYTES: usize = 256;
/// The largest bcrypt cost to compute: 2^14 rounds take about a second. A writer of the table must
/// not be able to stall the server.
const MAX_COST: u32 = 14;
/// A bcrypt hash of the usual cost that matches no device. A check for an unknown module takes as
/// long as a real one.
const DECOY_HASH: &str = "$2b$10$CwTycUXWue0Thq9StjUM0uCrbpnlf5UkbcNln2XbRqyfEWrEddaCa";

/// Returns `true` if the password matches the hash. Takes tens of milliseconds of CPU time, so it
/// must not run on a thread that serves connections. Without a hash it returns `false` after the
/// same time.
pub(crate) fn verify(password: &Secret, hash: Option<&Secret>) -> bool {
    let is_fit = |hash: &&Secret| bcrypt_cost(hash.expose()).is_some_and(|cost| cost <= MAX_COST);
    let fit = hash
        .filter(is_fit)
        .filter(|_| password.expose().len() <= MAX_PASSWORD_BYTES);
    let against = fit.map_or(DECOY_HASH, Secret::expose);
    let short = if password.expose().len() <= MAX_PASSWORD_BYTES {
        password.expose()
    } else {
        ""
    };
    bcrypt::verify(short, against).unwrap_or(false) && fit.is_some()
}

/// Parses the cost of a bcrypt hash: `$2b$10$…` gives 10.
fn bcrypt_cost(hash: &str) -> Option<u32> {
    let mut parts = hash.split('$').skip(1);
    parts
        .next()
        .filter(|version| matches!(*version, "2a" | "2b" | "2x" | "2y"))?;
    parts.next()?.parse().ok()
}

/// A keyed digest of a verified password. It can be compared with another digest, and reveals
/// nothing about the password.
#[derive(Clone)]
pub(crate) struct PasswordDigest([u8; 32]);

impl PasswordDigest {
    /// Compares two digests in constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for PasswordDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digest([redacted])")
    }
}

/// Creates digests under a random key that the server draws at its start and never exposes.
#[derive(Clone)]
pub(crate) struct PasswordDigester(Hmac<Sha256>);

impl PasswordDigester {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        // RFC 2104: a key shorter than the hash's block of 64 bytes is padded with zeros.
        let mut block = [0; 64];
        block[..key.len()].copy_from_slice(key);
        Self(Hmac::new(&block.into()))
    }

    pub(crate) fn digest(&self, password: &Secret) -> PasswordDigest {
        PasswordDigest(
            self.0
                .clone()
                .chain_update(password.expose())
                .finalize()
                .into_bytes()
                .into(),
        )
    }
}

impl std::fmt::Debug for PasswordDigester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digests([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_correct_password_is_accepted() {
        let hash = Secret::new(bcrypt::hash("s3cret", 4).unwrap());
        assert!(verify(&Secret::new("s3cret"), Some(&hash)));
        for wrong in ["", "s3cres", "S3cret"] {
            assert!(!verify(&Secret::new(wrong), Some(&hash)), "{wrong}");
        }
        assert!(!verify(&Secret::new("x".repeat(10_000)), Some(&hash)));
        assert!(
            bcrypt::verify("", DECOY_HASH).unwrap() && !verify(&Secret::new(""), None),
            "a decoy takes as long, and opens nothing"
        );
        for bad in [
            "",
            "s3cret",
            "$2b$31$CwTycUXWue0Thq9StjUM0uJ8lXcHUr6R6ZxB5J1l1oBqgJ1b0uKuW",
            "$argon2id$v=19$",
        ] {
            assert!(
                !verify(&Secret::new("s3cret"), Some(&Secret::new(bad))),
                "{bad}"
            );
        }
    }

    #[test]
    fn hashes_of_other_libraries_are_accepted() {
        // bcryptjs 2.4 writes `$2a$`, its successor and the native module `$2b$`, PHP `$2y$`.
        let hash = bcrypt::hash("s3cret", 4).unwrap();
        for version in ["$2a$", "$2b$", "$2y$"] {
            assert!(
                verify(
                    &Secret::new("s3cret"),
                    Some(&Secret::new(hash.replacen("$2b$", version, 1)))
                ),
                "{version}"
            );
        }
    }

    #[test]
    fn digests_match_only_for_equal_passwords_and_keys() {
        let digests = PasswordDigester::new(&[7; 32]);
        let digest = digests.digest(&Secret::new("a"));
        assert!(
            digest.matches(&digests.digest(&Secret::new("a")))
                && !digest.matches(&digests.digest(&Secret::new("b")))
        );
        assert!(
            !PasswordDigester::new(&[8; 32])
                .digest(&Secret::new("a"))
                .matches(&digest),
            "keyed"
        );
    }
}
