//! The settings of the workspace app.

use latido_app_kit::ApiKeys;

/// The settings of the workspace app.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The keys that publishers may present; at least one.
    pub keys: ApiKeys,
    /// Set if the ids of an `auth` frame without a token are accepted unchecked.
    pub trusts_client_ids: bool,
}
