//! Settings of the `workspace` app.

use latido_app_workspace::Config;
use latido_base::secret::Secret;
use latido_settings::{SettingsReader, variables};

variables! {
    /// The variables of the app.
    pub(super) const VARIABLES;
    "App workspace" {
        secret WORKSPACE_API_KEY "KEYS" = none,
            "Keys that publishers must send as X-API-Key, at least 16 characters each, separated by commas; or sha256: and the hash. Needed";
        plain WORKSPACE_TRUST_CLIENT_IDS "BOOL" = bool(false),
            "Accepts the ids that a client sends without a token, as the old server did. Only for a migration behind a trusted network";
    }
}

/// Reads the app's settings.
pub(super) fn config(r: &mut SettingsReader<'_>) -> Config {
    let list = r
        .secret(&WORKSPACE_API_KEY)
        .unwrap_or_else(|| Secret::new(""));
    let keys = r.ok_or_record(WORKSPACE_API_KEY.name, Config::parse_keys(&list));
    Config {
        keys: keys.unwrap_or_default(),
        trusts_client_ids: r.boolean(&WORKSPACE_TRUST_CLIENT_IDS),
    }
}
