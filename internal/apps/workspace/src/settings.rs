//! The settings of the workspace app.

use latido_app_kit::ApiKeys;
use latido_auth::Secret;
use latido_settings::{SettingsReader, variables};

use crate::config::Config;

variables! {
    /// The variables of the workspace app.
    pub(super) const VARIABLES;
    "App workspace" {
        secret WORKSPACE_API_KEY "KEYS" = none,
            "Keys that publishers must send as X-API-Key, at least 16 characters each, separated by commas; or sha256: and the hash. Needed";
        plain WORKSPACE_TRUST_CLIENT_IDS "BOOL" = bool(false),
            "Accepts the ids that a client sends without a token, as the old server did. Only for a migration behind a trusted network";
    }
}

impl Config {
    /// Reads the settings. A missing or invalid key is recorded as an error.
    pub(super) fn from_settings(r: &mut SettingsReader<'_>) -> Self {
        let list = r
            .secret(&WORKSPACE_API_KEY)
            .unwrap_or_else(|| Secret::new(""));
        let keys = r.ok_or_record(WORKSPACE_API_KEY.name, ApiKeys::parse(&list));
        Self {
            keys: keys.unwrap_or_default(),
            trusts_client_ids: r.boolean(&WORKSPACE_TRUST_CLIENT_IDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use latido_settings::ConfigSources;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, String> {
        let sources = ConfigSources::from_variables(variables);
        let r = &mut SettingsReader::new(&sources);
        let config = Config::from_settings(r);
        if r.errors.is_empty() {
            Ok(config)
        } else {
            Err(r.errors.to_string())
        }
    }

    #[test]
    fn app_without_its_key_does_not_start() {
        let missing = read(&[]).unwrap_err();
        assert!(
            missing.contains("WORKSPACE_API_KEY: expected a key"),
            "{missing}"
        );
        let weak = read(&[("WORKSPACE_API_KEY", "default-api-key")]).unwrap_err();
        assert!(
            weak.contains("WORKSPACE_API_KEY: a key is too short") && !weak.contains("default"),
            "{weak}"
        );
        let config = read(&[("WORKSPACE_API_KEY", "0123456789abcdef")]).unwrap();
        assert!(config.keys.matches(b"0123456789abcdef") && !config.trusts_client_ids);
    }
}
