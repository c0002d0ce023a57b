//! The settings of the workspace app.

use latido_app_kit::{ApiKeys, KeyListError};
use latido_auth::Secret;

/// The settings of the workspace app.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The keys that publishers may present; at least one.
    pub keys: ApiKeys,
    /// Set if the ids of an `auth` frame without a token are accepted unchecked.
    pub trusts_client_ids: bool,
}

impl Config {
    /// Parses a comma-separated list of keys, each in plain text or as `sha256:` and its hash.
    ///
    /// # Errors
    /// Returns a [`KeyListError`] if the list is empty or contains an invalid key.
    pub(crate) fn parse_keys(list: &Secret) -> Result<ApiKeys, KeyListError> {
        ApiKeys::parse(list)
    }
}
