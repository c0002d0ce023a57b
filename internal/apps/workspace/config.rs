//! The app's settings.

use crate::auth::{ApiKey, InvalidApiKey, Secret};

/// Shortest key, in bytes. The system's old default had 15.
const MIN_KEY_BYTES: usize = 16;
/// What stands before the hash of a key.
const HASHED: &str = "sha256:";

/// See each field.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What publishers must present, any of these; at least one.
    pub keys: Vec<ApiKey>,
    /// Whether the ids of an `auth` frame without a token are taken as they are.
    pub trusts_client_ids: bool,
}

/// Why a list of keys is none. It does not repeat them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing is listed.
    #[error(
        "expected a key of at least 16 characters (openssl rand -hex 32), or several separated by commas"
    )]
    None,
    /// A key could be guessed.
    #[error("a key is too short; expected at least 16 characters (openssl rand -hex 32)")]
    Short,
    /// A hash is none.
    #[error(transparent)]
    Hash(#[from] InvalidApiKey),
}

impl Config {
    /// The keys of a list between commas, each its text, or `sha256:` and its hash.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn parse_keys(list: &Secret) -> Result<Vec<ApiKey>, KeyError> {
        let keys = list
            .expose()
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let keys: Vec<ApiKey> = keys.map(parse_key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(KeyError::None)
        } else {
            Ok(keys)
        }
    }

    /// Whether a publisher's key is one of ours. All are looked at: how long it takes tells nothing.
    pub(super) fn admits(&self, presented: &[u8]) -> bool {
        self.keys
            .iter()
            .fold(false, |found, key| key.matches(presented) | found)
    }
}

fn parse_key(key: &str) -> Result<ApiKey, KeyError> {
    if !key.starts_with(HASHED) && key.len() < MIN_KEY_BYTES {
        return Err(KeyError::Short);
    }
    Ok(ApiKey::parse(&Secret::new(key))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_several_keys_opens() {
        let hash = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"; // of "key"
        let keys = Config::parse_keys(&Secret::new(format!(
            "the first key, and one, {hash},the second key and"
        )))
        .unwrap_err();
        assert_eq!(keys, KeyError::Short);
        let keys = Config::parse_keys(&Secret::new(format!(
            "the first key of two ,{hash},, the second of them"
        )))
        .unwrap();
        let config = Config {
            keys,
            ..Config::default()
        };
        for good in ["the first key of two", "the second of them", "key"] {
            assert!(config.admits(good.as_bytes()), "{good}");
        }
        for bad in ["", hash, "the first key of two ", "the third of them"] {
            assert!(!config.admits(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_key_that_can_be_guessed_is_none() {
        for bad in ["default-api-key", " , ,", "sha256:12"] {
            let error = Config::parse_keys(&Secret::new(bad))
                .unwrap_err()
                .to_string();
            assert!(!error.contains("default"), "{error}");
        }
    }
}
