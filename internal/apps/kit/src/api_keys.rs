//! The API keys of an app's publishers.

use latido_auth::{ApiKey, InvalidApiKey, Secret};
use latido_http::AppRequest;

/// The minimum length of a key in plain text, in bytes. The default key of an older system had 15.
const MIN_KEY_BYTES: usize = 16;
/// The prefix of a key that is given as its hash.
const HASH_PREFIX: &str = "sha256:";

const API_KEY_HEADER: &str = "x-api-key";
const BEARER_PREFIX: &[u8] = b"Bearer ";

/// The keys that an app accepts. Without any key it accepts none.
#[derive(Debug, Clone, Default)]
pub struct ApiKeys(Vec<ApiKey>);

/// The outcome of comparing the key that a request presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresentedKey {
    /// The request presents no key.
    Missing,
    /// The request presents a key, and it is none of the configured ones.
    Wrong,
    /// The request presents one of the configured keys.
    Valid,
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

impl ApiKeys {
    /// Parses a comma-separated list of keys, each in plain text or as `sha256:` and its hash.
    ///
    /// # Errors
    /// Returns a [`KeyListError`] if the list is empty or contains an invalid key.
    pub fn parse(list: &Secret) -> Result<Self, KeyListError> {
        let keys = list
            .expose()
            .split(',')
            .map(str::trim)
            .filter(|key| !key.is_empty());
        let keys: Vec<ApiKey> = keys.map(parse_key).collect::<Result<_, _>>()?;
        if keys.is_empty() {
            Err(KeyListError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// Returns `true` if the presented key is one of these. All keys are compared, so that the time
    /// taken reveals nothing.
    pub fn matches(&self, presented: &[u8]) -> bool {
        self.0
            .iter()
            .fold(false, |found, key| key.matches(presented) | found)
    }

    /// Returns `true` if the request has one of these keys in `X-API-Key`.
    pub fn match_header(&self, request: &AppRequest) -> bool {
        request
            .header_bytes(API_KEY_HEADER)
            .is_some_and(|key| self.matches(key))
    }

    /// Compares the keys that the request presents in `X-API-Key`, and in `Authorization` after
    /// `Bearer`. One valid key is enough.
    pub fn check_header_or_bearer(&self, request: &AppRequest) -> PresentedKey {
        let key = request.header_bytes(API_KEY_HEADER);
        let bearer = request
            .header_bytes("authorization")
            .and_then(|value| value.strip_prefix(BEARER_PREFIX));
        let is_valid = |key: Option<&[u8]>| key.is_some_and(|key| self.matches(key));
        if is_valid(key) | is_valid(bearer) {
            PresentedKey::Valid
        } else if key.is_some() || bearer.is_some() {
            PresentedKey::Wrong
        } else {
            PresentedKey::Missing
        }
    }
}

impl FromIterator<ApiKey> for ApiKeys {
    fn from_iter<I: IntoIterator<Item = ApiKey>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
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

    /// The hash of `key`.
    const HASH: &str = "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";

    fn parse(list: &str) -> Result<ApiKeys, KeyListError> {
        ApiKeys::parse(&Secret::new(list))
    }

    #[test]
    fn any_configured_key_is_accepted() {
        let short = parse(&format!(
            "the first key, and one, {HASH},the second key and"
        ));
        assert_eq!(short.unwrap_err(), KeyListError::TooShort);
        let keys = parse(&format!(
            "the first key of two ,{HASH},, the second of them"
        ))
        .unwrap();
        for good in ["the first key of two", "the second of them", "key"] {
            assert!(keys.matches(good.as_bytes()), "{good}");
        }
        for bad in ["", HASH, "the first key of two ", "the third of them"] {
            assert!(!keys.matches(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn guessable_keys_are_rejected() {
        for bad in ["default-api-key", " , ,", "sha256:12"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(!error.contains("default"), "{error}");
        }
    }

    #[test]
    fn keys_are_read_from_the_permitted_headers_only() {
        let keys = parse(HASH).unwrap();
        let request = |name, value| AppRequest::new("POST", "/").with_header(name, value);
        use PresentedKey::{Missing, Valid, Wrong};
        for (name, value, in_header, in_either) in [
            ("x-api-key", "key", true, Valid),
            ("X-API-Key", "key", true, Valid),
            ("x-api-key", "Bearer key", false, Wrong),
            ("x-api-key", "", false, Wrong),
            ("authorization", "Bearer key", false, Valid),
            ("authorization", "bearer key", false, Missing),
            ("authorization", "Bearer  key", false, Wrong),
            ("authorization", "key", false, Missing),
            ("x-key", "key", false, Missing),
        ] {
            let request = request(name, value);
            assert_eq!(
                (
                    keys.match_header(&request),
                    keys.check_header_or_bearer(&request)
                ),
                (in_header, in_either),
                "{name}: {value}"
            );
        }
        let both = request("x-api-key", "no").with_header("authorization", "Bearer key");
        assert_eq!(keys.check_header_or_bearer(&both), Valid);
    }

    #[test]
    fn no_key_matches_if_none_is_configured() {
        let keys = ApiKeys::default();
        assert!(!keys.matches(b"") && !keys.match_header(&AppRequest::new("POST", "/")));
    }
}
