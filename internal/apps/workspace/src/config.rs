//! The settings of the workspace app.

use latido_auth::{ApiKey, InvalidApiKey, Secret};

/// The minimum length of a key, in bytes. The system's old default key had 15.
const MIN_KEY_BYTES: usize = 16;
/// The prefix of a key that is given as its hash.
const HASH_PREFIX: &str = "sha256:";

/// The settings of the workspace app.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The keys that publishers may present; at least one.
    pub keys: Vec<ApiKey>,
    /// Set if the ids of an `auth` frame without a token are accepted unchecked.
    pub trusts_client_ids: bool,
}

/// The reason for rejecting a list of keys. The text does not repeat the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyListError {
    /// The list contains no key at all.
    #[error(
        "expected a key of at least 16 characters (openssl rand -hex 32), or several separated by commas"
    )]
    Empty,
    /// A key is short enough to be guessed.
    #[error("a key is too short; expected at least 16 characters (openssl rand -hex 32)")]
    TooShort,
    /// A hash after `sha256:` is malformed.
    #[error(transparent)]
    InvalidHash(#[from] InvalidApiKey),
}

impl Config {
    /// Parses a comma-separated list of keys, each in plain text or as `sha256:` and its hash.
    ///
    /// # Errors
    /// Returns a [`KeyError`] if the list is empty or contains an invalid key.
    pub fn parse_keys(list: &Secret) -> Result<Vec<ApiKey>, KeyListError> {
        let keys = list
            .expose()
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let keys: Vec<ApiKey> = keys.map(parse_key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(KeyListError::Empty)
        } else {
            Ok(keys)
        }
    }

    /// Returns `true` if the presented key is one of the configured keys. All keys are compared, so
    /// that the time taken reveals nothing.
    pub(super) fn accepts_key(&self, presented: &[u8]) -> bool {
        self.keys
            .iter()
            .fold(false, |found, key| key.matches(presented) | found)
    }
}

fn parse_key(key: &str) -> Result<ApiKey, KeyListError> {
    if !key.starts_with(HASH_PREFIX) && key.len() < MIN_KEY_BYTES {
        return Err(KeyListError::TooShort);
    }
    Ok(ApiKey::parse(&Secret::new(key))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_configured_key_is_accepted() {
        let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // of "key"
        let keys = Config::parse_keys(&Secret::new(format!(
            "the first key, and one, {hash},the second key and"
        )))
        .unwrap_err();
        assert_eq!(keys, KeyListError::TooShort);
        let keys = Config::parse_keys(&Secret::new(format!(
            "the first key of two ,{hash},, the second of them"
        )))
        .unwrap();
        let config = Config {
            keys,
            ..Config::default()
        };
        for good in ["the first key of two", "the second of them", "key"] {
            assert!(config.accepts_key(good.as_bytes()), "{good}");
        }
        for bad in ["", hash, "the first key of two ", "the third of them"] {
            assert!(!config.accepts_key(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn guessable_keys_are_rejected() {
        for bad in ["default-api-key", " , ,", "sha256:12"] {
            let error = Config::parse_keys(&Secret::new(bad))
                .unwrap_err()
                .to_string();
            assert!(!error.contains("default"), "{error}");
        }
    }
}
