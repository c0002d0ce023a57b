//! The passwords that were verified lately, as keyed digests. A device that reconnects with the
//! same password needs no bcrypt, however many wrong passwords others send.

use std::time::Duration;

use latido_auth::Secret;
use moka::sync::Cache;

use crate::device::password::{PasswordDigest, PasswordDigester};
use crate::registry::ModuleId;

/// The largest number of modules to remember.
const MAX_MODULES: u64 = 100_000;
/// The time after which a password is checked with bcrypt again.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The digests of a password and of the stored hash that it was verified against.
#[derive(Debug, Clone)]
struct VerifiedPassword {
    password: PasswordDigest,
    hash: PasswordDigest,
}

/// The verified passwords by module.
pub(super) struct VerifiedPasswords {
    digester: PasswordDigester,
    modules: Cache<ModuleId, VerifiedPassword>,
}

impl VerifiedPasswords {
    pub(super) fn new(digester: PasswordDigester) -> Self {
        Self {
            digester,
            modules: Cache::builder()
                .max_capacity(MAX_MODULES)
                .time_to_live(LIFETIME)
                .build(),
        }
    }

    /// Returns `true` if this password was verified against this very hash.
    pub(super) fn contains(&self, module: &str, password: &Secret, hash: &Secret) -> bool {
        let Some(known) = self.modules.get(module) else {
            return false;
        };
        let is_password = self.digester.digest(password).matches(&known.password);
        let is_hash = self.digester.digest(hash).matches(&known.hash);
        is_password & is_hash
    }

    /// Records that bcrypt has verified the password.
    pub(super) fn insert(&self, module: &str, password: &Secret, hash: &Secret) {
        let verified = VerifiedPassword {
            password: self.digester.digest(password),
            hash: self.digester.digest(hash),
        };
        self.modules.insert(module.into(), verified);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_of_the_same_hash_is_known() {
        let known = VerifiedPasswords::new(PasswordDigester::new(&[7; 32]));
        let secret = |text: &str| Secret::new(text);
        assert!(!known.contains("M1", &secret("a"), &secret("hash")));
        known.insert("M1", &secret("a"), &secret("hash"));
        assert!(known.contains("M1", &secret("a"), &secret("hash")));
        for (module, password, hash) in [
            ("M2", "a", "hash"),
            ("M1", "b", "hash"),
            ("M1", "a", "changed"),
            ("M1", "", ""),
        ] {
            assert!(!known.contains(module, &secret(password), &secret(hash)));
        }
    }
}
